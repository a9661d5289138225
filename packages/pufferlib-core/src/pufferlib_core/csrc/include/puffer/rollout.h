/* Collection fused with simulation: a task takes PUF_SLICE environments through a whole segment, so that weights and states
 * stay in the cache and there is one barrier a segment.
 */
#ifndef PUFFER_ROLLOUT_H
#define PUFFER_ROLLOUT_H

#include "puffer/net.h"
#include "puffer/vec.h"

/* <cdef> */
/* Time-major planes of a segment of `steps` rows, n environments. Row convention: ARCHITECTURE.md. */
typedef struct {
    float *obs;          /* (steps + 1, n, obs_size); row 0 is given, row `steps` ends the segment */
    uint8_t *action_mask; /* (steps + 1, n, logits) as obs; NULL if the environment has none */
    void *action;        /* (steps, n, ...) */
    float *logprob;      /* (steps, n) */
    float *value;        /* (steps, n) */
    float *next_value;   /* (steps, n) value(final_obs) where truncated, 0 where terminated, else value of row t + 1 */
    float *reward, *cost;
    uint8_t *terminated, *truncated, *valid;
    float *final_obs;    /* (n, obs_size) scratch: the last final observation of each environment */
    puf_episode *log;        /* (steps, n) written where an episode ended */
    int32_t steps;
    float *carry;        /* (2, n, puf_net_carry) what the policy hands on: [0] to row 0, given; [1] after the last row so far,
                            written; NULL without a memory */
    void *given;         /* (n, ...) scratch where the policy squashes numbers: what the environments get of the last actions.
                            `action` keeps them as they were sampled. NULL, like low and high, of other policies */
    const float *low, *high; /* (A) bounds of the numbers, see puf_squash */
} puf_segment;

/* Fills the segment with the policy's sampled actions; noise is keyed by (seed, environment, first_step + t).
 * Returns the number of episodes that ended; PUF_EINVAL if sizes differ; PUF_ENONFINITE if an observation or a reward is NaN
 * or infinite, PUF_EMASK if a mask allows nothing: *bad_row is then the first such row t * n + environment (of obs, or n past it for a reward). */
int puf_collect(puf_vec *vec, puf_policy *policy, const puf_exec *exec, const puf_segment *segment, uint64_t seed,
                uint64_t first_step, int64_t *bad_row);
/* </cdef> */

#endif
