/* Distributions over actions: K choices, categorical with masks, then A real numbers, Gaussian with a deviation that does
 * not depend on the observation. Each may be missing.
 *
 * Rows are row-major: heads (n, logits) hold the logits of choice 0, then those of choice 1, ..., then the A means; log_std
 * is (A). An action is K int32 words, then A float32 words. Action masks (n, logits - A) speak of the choices alone. A masked
 * choice has probability 0 and gradient 0. Log-probabilities and entropies of a row are the sums over its components. Dense
 * tolerance (1e-5 relative to the serial variant), independent of a row's neighbours.
 *
 * An action is what was sampled. Where numbers are squashed, the environment gets what `puf_squash` makes of them: the
 * log-probability stays that of the sample, because the Jacobian, which depends on the sample alone, cancels in every ratio
 * and divergence; the entropy is that of tanh of the number, so that a bonus on it does not push actions to their bounds.
 * PUF_EINVAL: sizes that are not legal, a missing pointer; PUF_EMASK: a mask that allows nothing.
 */
#ifndef PUFFER_DIST_H
#define PUFFER_DIST_H

#include "puffer/env.h"
#include "puffer/status.h"

/* <cdef> */
enum {
    PUF_MAX_LOGITS = 512,
    PUF_SLICE = 32 /* rows that are worked on together */
};

typedef struct {
    int32_t size;    /* components, K + A; at most PUF_MAX_HEADS */
    int32_t numbers; /* A: the last components are real numbers */
    int32_t n[32];   /* choices of component k < K */
    int32_t logits;  /* the sum of n, and A; at most PUF_MAX_LOGITS */
    int32_t squash;  /* 1: numbers are squashed on their way to the environment; 0, and where there are none: not */
} puf_dist;

/* Floats of scratch memory (64-byte aligned) for the functions below; 0 if the sizes are not legal. */
int64_t puf_dist_scratch(const puf_dist *dist);
/* Samples (greedy != 0: the most likely) actions, 4-byte words (n, K + A), and their log-probabilities. The noise of row i
 * is keyed by (seed, first_env + i, step). */
int puf_dist_sample(int isa, const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask,
                    int32_t n, uint64_t seed, uint32_t first_env, uint64_t step, int greedy, void *action, float *logprob,
                    float *scratch);
/* Log-probabilities of given actions and entropies, (n) each. */
int puf_dist_evaluate(int isa, const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask,
                      int32_t n, const void *action, float *logprob, float *entropy, float *scratch);
/* Gradients of sum_i (d_logprob_i * logprob_i + d_entropy_i * entropy_i): d_heads (n, logits), and d_log_std (A), which may
 * be NULL if A is 0. Both are overwritten. */
int puf_dist_gradient(int isa, const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask,
                      int32_t n, const void *action, const float *d_logprob, const float *d_entropy, float *d_heads,
                      float *d_log_std, float *scratch);
/* What an environment gets of n sampled actions, words (n, choices + numbers), in place: number a becomes
 *     (low[a] + high[a]) / 2 + (high[a] - low[a]) / 2 * tanh(number)
 * and lies in [low[a], high[a]]; low and high (numbers) are finite, low < high. Bit-equal on every target. */
int puf_squash(const float *low, const float *high, int32_t choices, int32_t numbers, int64_t n, void *action);
/* 1 if every row of action_mask (rows, logits - A) allows a choice of each component; *bad is the first that does not. */
int puf_masks_legal(const puf_dist *dist, const uint8_t *action_mask, int64_t rows, int64_t *bad);
/* </cdef> */

/* Components that are choices: K. */
static inline int32_t puf_dist_choices(const puf_dist *dist) { return dist->size - dist->numbers; }
/* Bytes of a row of action masks: the sum of n. */
static inline int32_t puf_dist_mask_size(const puf_dist *dist) { return dist->logits - dist->numbers; }

/* --- what an ISA supplies (internal): one slice, planes (component, PUF_SLICE); masks stay row-major ------------------- */

typedef struct {
    /* words: (components, 2, PUF_SLICE) random words of rows first_env .. first_env + rows - 1; rows <= PUF_SLICE. */
    void (*noise)(uint64_t seed, uint64_t step, uint32_t first_env, int32_t rows, int32_t components, uint32_t *words);
    /* The first `rows` rows; words: of `noise`, not read if greedy. What other rows of the results hold has no meaning. */
    void (*sample)(const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask, int32_t rows,
                   const uint32_t *words, int greedy, void *action, float *logprob);
    void (*evaluate)(const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask,
                     const void *action, float *logprob, float *entropy);
    /* Overwrites heads; adds to d_log_std. */
    void (*gradient)(const puf_dist *dist, float *heads, const float *log_std, const uint8_t *action_mask,
                     const void *action, const float *d_logprob, const float *d_entropy, float *d_log_std);
} puf_dist_kernels;

#endif
