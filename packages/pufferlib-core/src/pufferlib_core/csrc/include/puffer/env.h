/* An environment as a table of functions.
 *
 * The vector environment (vec.h) owns the memory and the bookkeeping common to all environments: episode return and
 * length, the time limit, autoreset, final observations, the log. An environment only describes its rules.
 *
 * Two ways to join. Scalar: fill `reset_one` and `step_one`; the live batch is then an array of canonical states.
 * Batched: fill `batch_bytes`, `reset`, `step`, `save_one`, `load_one`; the live batch may then be laid out freely
 * (structure of arrays). The canonical state is one plain struct, identical on every ISA and target.
 *
 * Threads: different ranges of one batch may be stepped by different threads at the same time. Functions must not
 * allocate, print, keep hidden state or use other randomness than the puf_rng they are given (kept in their state).
 * Ranges start at multiples of PUF_ENV_BLOCK, and batch memory is 64-byte aligned.
 */
#ifndef PUFFER_ENV_H
#define PUFFER_ENV_H

#include "puffer/port.h"
#include "puffer/rng.h"
#include "puffer/status.h"

/* <cdef> */
enum {
    PUF_ENV_ABI = 1,
    PUF_ENV_BLOCK = 16,   /* ranges given to reset/step start at multiples of this */
    PUF_LOG_METRICS = 6,  /* custom metrics of one episode */
    PUF_MAX_HEADS = 32    /* components of a multi-discrete action */
};

typedef enum { PUF_ACTION_DISCRETE = 0, PUF_ACTION_CONTINUOUS = 1 } puf_action_kind;

/* What an environment says of itself for a configuration. */
typedef struct {
    int32_t obs_size;          /* float32 numbers in one observation */
    int32_t action_kind;       /* puf_action_kind */
    int32_t action_size;       /* K components (multi-)discrete int32, or A float32 numbers, which come as they were sampled:
                                  perhaps beyond the bounds of their space, to be clamped (puf_clamp) */
    int32_t action_n[32];      /* discrete: choices of component k */
    int32_t max_episode_steps; /* the vec truncates there; 0: no limit */
    int32_t metric_count;      /* custom metrics used, <= PUF_LOG_METRICS */
    int32_t logits;            /* set by the vec: sum of action_n, or A */
    int32_t masks;             /* set by the vec: 1 if the environment tells which choices are allowed */
} puf_env_info;

/* One finished episode; written in the row of its last step. */
typedef struct {
    float episode_return;
    int32_t episode_length;
    float metric[6];
} puf_episode;
/* </cdef> */

typedef struct puf_env {
    uint32_t abi_version; /* PUF_ENV_ABI */
    uint32_t struct_size; /* sizeof(puf_env) of the headers it was compiled with */
    const char *name;
    size_t config_bytes; /* size of the configuration struct behind `config`; NULL config means defaults */

    /* Fills `info`; PUF_EINVAL if the configuration is not legal. */
    int (*describe)(const void *config, puf_env_info *info);
    /* Bytes of one canonical state, which includes the environment's puf_rng. A multiple of 4. */
    size_t (*state_bytes)(const void *config);

    /* --- scalar environments (NULL when batched) --- */
    /* `state` of a new environment is all zero but for its stream, handed over once by init_one. */
    void (*init_one)(const void *config, void *state, puf_rng stream);
    void (*reset_one)(const void *config, void *state, float *obs);
    /* Writes obs, *reward, *cost (preset to 0) and *terminated; *truncated is preset to 0 and may be set. */
    void (*step_one)(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated);
    void (*metrics_one)(const void *config, const void *state, float *metric); /* NULL: none; called before a reset */

    /* --- batched environments (NULL when scalar) --- */
    size_t (*batch_bytes)(const void *config, int32_t n);
    /* Gives environment i its stream. */
    void (*init)(const void *config, void *batch, int32_t n, int32_t i, puf_rng stream);
    /* New episodes for the `count` environments index[0..count) (ascending); row i of `obs` is (n, obs_size). */
    void (*reset)(const void *config, void *batch, int32_t n, const int32_t *index, int32_t count, float *obs);
    /* One step of environments first .. first + count - 1. Row i of every plane belongs to environment i (not to
     * first + i). `cost` is preset to 0 and `truncated` to 0 (own reasons only; the time limit is the vec's). */
    void (*step)(const void *config, void *batch, int32_t n, int32_t first, int32_t count, const void *action, float *obs,
                 float *reward, float *cost, uint8_t *terminated, uint8_t *truncated);
    void (*metrics)(const void *config, const void *batch, int32_t n, int32_t i, float *metric); /* NULL: none */
    void (*save_one)(const void *config, const void *batch, int32_t n, int32_t i, void *state);
    void (*load_one)(const void *config, void *batch, int32_t n, int32_t i, const void *state);

    /* Observation of a canonical state (for forks and tests). NULL: none. */
    void (*observe)(const void *config, const void *state, float *obs);

    /* Which choices the next action may take: one byte for each choice of each component, 0 or 1, at least one 1 in a
     * component. Scalar and batched form (row i belongs to environment i). NULL: everything, always. */
    void (*mask_one)(const void *config, const void *state, uint8_t *action_mask);
    void (*mask)(const void *config, const void *batch, int32_t n, int32_t first, int32_t count, uint8_t *action_mask);
} puf_env;

/* Each environment exports `const puf_env *puf_env_table_<name>(int isa)`: the table for an ISA (a variant compiled for
 * it, or the serial one). Variants of one environment are bit-equal. */
typedef const puf_env *(*puf_env_table)(int isa);

#endif
