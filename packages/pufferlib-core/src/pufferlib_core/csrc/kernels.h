/* Kernels that exist once for each ISA: written once in *.inl, compiled by kernels_<isa>.c, chosen through puf_kernels_get.
 * Internal to the core. */
#ifndef PUFFER_KERNELS_H
#define PUFFER_KERNELS_H

#include "puffer/dist.h"
#include "puffer/net.h"
#include "puffer/ppo.h"
#include "puffer/returns.h"
#include "puffer/vec.h"

typedef struct {
    float *adv, *target;
    const float *reward, *value, *next_value, *behaviour_logprob, *target_logprob;
    const uint8_t *terminated, *truncated;
    int32_t t_len, n;
    float gamma, lam, rho_clip, c_clip;
} puf_returns_args;

typedef struct {
    /* Bookkeeping of a step: accumulates returns and lengths, applies the time limit, and lists the ended environments of
     * [first, first + count) in `ended`. Returns how many. */
    int32_t (*vec_account)(float *episode_return, int32_t *episode_length, const float *reward, const uint8_t *terminated,
                           uint8_t *truncated, int32_t max_steps, int32_t first, int32_t count, int32_t *ended);
    uint32_t (*largest)(const uint32_t *x, int64_t n);
    /* Columns [first, first + count). */
    void (*gae)(const puf_returns_args *a, int32_t first, int32_t count);
    void (*vtrace)(const puf_returns_args *a, int32_t first, int32_t count);
    void (*lambda)(const puf_returns_args *a, int32_t first, int32_t count);
    void (*adam)(const puf_adam_step *step, float *param, const float *grad, float *m, float *v, int32_t n);
    float (*sum_squares)(const float *x, int32_t n);
    /* c[m][v] (+)= sum over k of a[m * row_stride + k * k_stride] * b[k * ldb + v]: see gemm in net_simd.inl. `columns`, ldb and
     * ldc are whole vectors, b and c aligned to them. A row of c does not depend on the others. */
    void (*product)(int32_t rows, int32_t columns, int32_t depth, const float *a, int64_t row_stride, int64_t k_stride,
                    const float *b, int64_t ldb, const float *start, int add, float *c, int64_t ldc);
    puf_dist_kernels dist;
    puf_net_kernels net;
} puf_kernels;

/* The mask of `rows` rows padded to a slice, whose other rows may do anything; NULL and whole slices pass through. */
const uint8_t *puf_mask_slice(const puf_dist *dist, const uint8_t *action_mask, int32_t rows, uint8_t *padded);

/* The kernels of an ISA, or NULL if it is unknown, not built or not usable here. */
const puf_kernels *puf_kernels_get(int isa);

#endif
