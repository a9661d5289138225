/* Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347): fused loss, gradients and updates.
 *
 * A minibatch is cut into chunks fixed by its size alone; each chunk sums its gradient over its slices in order, and the chunks
 * are added in order: the result does not depend on threads.
 *
 * A policy with a memory learns from sequences: the `steps` rows of an environment, unrolled from the carry that its first row
 * was acted on with, and whole sequences make a minibatch. What a row hands on is nothing where an episode ended with it, what it
 * started with where it is not valid, else what the policy made of it; gradients pass all steps of the sequence in the same way.
 */
#ifndef PUFFER_PPO_H
#define PUFFER_PPO_H

#include "puffer/muon.h"

/* <cdef> */
typedef struct {
    float clip;         /* surrogate ratio is kept in [1 - clip, 1 + clip] */
    float value_clip;   /* value may move this far from its old value; 0: unlimited */
    float dual_clip;    /* > 1: bound of the objective where the advantage is negative (arXiv 1912.09729); 0: none */
    float value_coef;   /* weight of 0.5 (value - target)^2 */
    float entropy_coef;
    float kl_coef;      /* weight of the mean of (ratio - 1) - log ratio, an estimate of the divergence from the old policy */
    float target_kl;    /* stop the update when a minibatch exceeds it, before its step; 0: never */
    int32_t epochs;
    int32_t minibatch;  /* rows of a gradient step; divides the rows of the batch; with a memory, a multiple of its steps */
    int32_t normalize_advantage; /* per minibatch, over valid rows, population deviation */
    puf_adam_config adam;
    float momentum;     /* of Muon, where the ppo was made for it; its rate and the rest are those of `adam` */
} puf_ppo_config;

/* Rows of one segment, flattened (t, n). Everything is read only. */
typedef struct {
    const void *obs;         /* (rows, obs_size) of the net's obs_number, before normalisation */
    const void *action;      /* (rows, K + A) words, K int32 and then A float32 */
    const uint8_t *action_mask; /* (rows, L - A) or NULL */
    const float *logprob;    /* (rows) of the collecting policy */
    const float *advantage;  /* (rows) */
    const float *target;     /* (rows) of the value */
    const float *value;      /* (rows) of the collecting policy */
    const uint8_t *valid;    /* (rows); others have no influence whatever they hold */
    int64_t rows;
    const float *importance; /* (rows) factor of each advantage once it is normalised, or NULL */
    const int32_t *order;    /* what the minibatches of an update take, one after the other (epochs * rows, with a memory
                              * epochs * rows / steps), or NULL for puf_minibatch_order */
    const uint8_t *terminated, *truncated; /* (rows) with a memory, else NULL, like carry */
    const float *carry;      /* (rows / steps, puf_net_carry) what the first row of each environment was acted on with */
} puf_batch;

typedef struct { /* means over minibatches done */
    float policy_loss, value_loss, entropy, approx_kl, clip_fraction, grad_norm;
    int32_t minibatches; /* gradient steps taken */
    int32_t stopped;     /* 1: target_kl was exceeded */
    int32_t failed;      /* PUF_ENONFINITE: 1 + the minibatch (of the whole update) that gave NaN or infinity */
} puf_ppo_metrics;

typedef struct puf_ppo puf_ppo;

/* steps: rows of an environment in a segment, which matter to a policy with a memory. optimizer: puf_optimizer. */
size_t puf_ppo_bytes(const puf_policy *policy, int64_t rows, int32_t minibatch, int32_t steps, int optimizer);
/* The policy's packed weights are overwritten by updates; it must outlive the ppo. */
int puf_ppo_init(puf_ppo **ppo, void *mem, size_t bytes, puf_policy *policy, int64_t rows, int32_t minibatch, int32_t steps,
                 int optimizer);

/* The rows of an epoch in the order in which minibatches take them, order (rows): shuffled in blocks of 16 (or the largest
 * power of two below that divides the minibatch), so that a minibatch is gathered in runs of whole cache lines. */
int puf_minibatch_order(uint64_t seed, uint64_t update, int32_t epoch, int64_t rows, int32_t minibatch, int32_t *order);

/* Loss gradient of the rows index[0 .. count), count <= minibatch, into grads (params, canonical layout); with a memory the
 * index names environments, of minibatch / steps at most. */
int puf_ppo_gradient(puf_ppo *ppo, const puf_exec *exec, const puf_ppo_config *config, const puf_batch *batch,
                     const int32_t *index, int32_t count, const float *params, float *grads, puf_ppo_metrics *metrics);

/* epochs x minibatches of the optimizer on params, m, v: for Adam (puf_net_params) each, for Muon those of puf_muon_step; *step
 * counts gradient steps and is advanced. Rows are taken in the order of the batch, else of puf_minibatch_order; with a memory
 * environments in that of (rows / steps, minibatch / steps). PUF_ENONFINITE: the offending step was not taken;
 * metrics->failed says which. */
int puf_ppo_update(puf_ppo *ppo, const puf_exec *exec, const puf_ppo_config *config, const puf_batch *batch, uint64_t seed,
                   uint64_t update, float *params, float *m, float *v, int64_t *step, puf_ppo_metrics *metrics);
/* </cdef> */

#endif
