/* The AVX512 variant. */
#include "kernels.h"

#if PUF_X86
#include <immintrin.h>

#include "puffer/isa_begin_avx512.h"
#include "puffer/math.h"
#include "puffer/optim.h"
#include "seeds.h"

#include "simd_avx512.h"
#include "elementwise.inl"
#include "dist_simd.inl"
#include "net_simd.inl"

const puf_kernels puf_kernels_avx512 = {
    .vec_account = vec_account,
    .largest = largest,
    .gae = kernel_gae,
    .vtrace = kernel_vtrace,
    .lambda = kernel_lambda,
    .adam = kernel_adam,
    .sum_squares = kernel_sum_squares,
    .dist = {dist_noise, dist_sample, dist_evaluate, dist_gradient},
    .net = {VW, net_pack, net_unpack, net_forward, net_backward, net_loss, net_add},
};

#include "puffer/isa_end.h"
#endif
