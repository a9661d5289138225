/* The NEON variant; the baseline of aarch64, so that no target attribute is needed. */
#include "kernels.h"

#if PUF_NEON
#include <arm_neon.h>

#include "puffer/math.h"
#include "puffer/optim.h"
#include "seeds.h"

#include "simd_neon.h"
#include "elementwise.inl"
#include "dist_simd.inl"
#include "net_simd.inl"

const puf_kernels puf_kernels_neon = {
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

#endif
