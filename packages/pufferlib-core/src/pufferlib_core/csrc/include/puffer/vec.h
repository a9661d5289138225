/* A batch of environments of one kind: bookkeeping, time limit, autoreset, final observations, saved states.
 *
 * Planes are caller's memory, row n belongs to environment n. The trajectory of environment n depends on (seed, n) and its
 * actions alone: not on the executor, the batch size or the ISA.
 */
#ifndef PUFFER_VEC_H
#define PUFFER_VEC_H

#include "puffer/env.h"
#include "puffer/exec.h"

/* <cdef> */
typedef enum {
    PUF_SAME_STEP = 0, /* the step that ends an episode returns the first observation of the next one */
    PUF_NEXT_STEP = 1, /* the step after it ignores the action, resets, and is not valid */
    PUF_NO_RESET = 2   /* ended environments stay, with rows that are not valid, until puf_vec_reset */
} puf_autoreset;

/* Where a step is written; n = environments. Any pointer but obs, reward, terminated and truncated may be NULL. */
typedef struct {
    float *obs;          /* (n, obs_size) observation after the step (and after the reset, if there was one) */
    float *reward;       /* (n) */
    float *cost;         /* (n) */
    uint8_t *terminated; /* (n) 0 or 1 */
    uint8_t *truncated;  /* (n) 0 or 1 */
    uint8_t *valid;      /* (n) 0: a dummy row (NEXT_STEP reset, ended environment) */
    float *final_obs;    /* (n, obs_size) last observation of the episode; written only where it ended */
    puf_episode *log;    /* (n) written only where an episode ended */
    uint8_t *action_mask; /* (n, logits) what the next action may be, as bytes 0 or 1; not written if `masks` is 0 */
} puf_planes;

typedef struct puf_vec puf_vec;

/* Bytes for n environments of `env` (a const puf_env *); 0 if the table or the configuration is not legal. */
size_t puf_vec_bytes(const void *env, const void *config, int32_t n, int autoreset);
/* Builds the batch in `mem` (64-byte aligned; stays in place). `config` must outlive it. Environment i draws from stream
 * (seed, first_stream + i). PUF_EABI, PUF_EINVAL, PUF_ENOMEM. */
int puf_vec_init(puf_vec **vec, void *mem, size_t bytes, const void *env, const void *config, int32_t n, int autoreset,
                 int isa, uint64_t seed, uint64_t first_stream);
/* Describes a table without building a batch. */
int puf_env_describe(const void *env, const void *config, puf_env_info *info);

/* Starts new episodes where `where` is non-zero (NULL: everywhere) and writes their first observations, and the masks of
 * all environments if action_mask is not NULL. */
int puf_vec_reset(puf_vec *vec, const puf_exec *exec, const uint8_t *where, float *obs, uint8_t *action_mask);
/* One step of every environment. action: int32 (n, K) or float32 (n, A). Discrete actions out of range: PUF_EINVAL and
 * nothing is stepped. Returns the number of episodes that ended, or a negative status. */
int puf_vec_step(puf_vec *vec, const puf_exec *exec, const void *action, const puf_planes *out);
/* `steps` steps with given actions (steps, n, ...) into time-major planes (obs: steps rows too, the observation after
 * each step; action_mask likewise; final_obs: one row for each environment, the last of them). Equals calling puf_vec_step `steps` times, with one
 * barrier instead of one a step. */
int puf_vec_run(puf_vec *vec, const puf_exec *exec, const void *action, int32_t steps, const puf_planes *out);

/* The canonical record of environment i: environment state, running return, length, whether a reset is due. */
size_t puf_vec_record_bytes(const puf_vec *vec);
int puf_vec_save(const puf_vec *vec, int32_t i, void *record);
/* The records of all environments, one after the other: n * puf_vec_record_bytes. */
int puf_vec_save_all(const puf_vec *vec, void *records);
/* PUF_EINVAL also for the record of an ended episode (another autoreset mode) where episodes restart in the same step. */
int puf_vec_load(puf_vec *vec, int32_t i, const void *record);
/* (A fork is a save of one environment and a load into another: the record holds the random stream too.) */
/* Observation of a saved record, if the environment can tell; else PUF_EINVAL. */
int puf_vec_observe(const puf_vec *vec, const void *record, float *obs);

/* Ended episodes of time-major flag planes, in the order (t, n). row[k] = t * n + environment. Returns how many. */
int64_t puf_episodes(const uint8_t *terminated, const uint8_t *truncated, int64_t rows, int64_t *row, int64_t capacity);
/* </cdef> */

/* Steps environments [first, first + count) only: what a fused collector calls from inside its own task. `first` is a
 * multiple of PUF_ENV_BLOCK where environments step as a batch. Does not check actions. Returns the number of episodes that ended. */
int32_t puf_vec_step_range(puf_vec *vec, int32_t first, int32_t count, const void *action, const puf_planes *out);
int32_t puf_vec_size(const puf_vec *vec);
const puf_env_info *puf_vec_info(const puf_vec *vec);

#endif
