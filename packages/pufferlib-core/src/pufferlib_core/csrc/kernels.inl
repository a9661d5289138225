/* All kernels of one ISA, over the vector type of simd_<isa>.h, and their table. Included by kernels_<isa>.c, which names the table
 * KERNELS. */
#include "puffer/optim.h"
#include "seeds.h"

#include "elementwise.inl"
#include "dist_simd.inl"
#include "net_simd.inl"

const puf_kernels KERNELS = {
    .vec_account = vec_account,
    .largest = largest,
    .gae = kernel_gae,
    .vtrace = kernel_vtrace,
    .lambda = kernel_lambda,
    .adam = kernel_adam,
    .sum_squares = kernel_sum_squares,
    .product = gemm,
    .dist = {dist_noise, dist_sample, dist_evaluate, dist_gradient},
    .net = {VW, net_pack, net_unpack, net_forward, net_backward, net_core_gradients, net_loss, net_add},
};
