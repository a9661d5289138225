/* What every scalar environment of this package says in the same way. Place it after the state struct (which holds `puf_rng rng`)
 * and DEFAULTS; the file then defines describe, observe, reset_one and step_one. */
#ifndef PUFFER_SCALAR_ENV_H
#define PUFFER_SCALAR_ENV_H

#include "puffer/env.h"

#define SCALAR_ENV(NAME, STATE, CONFIG)                                                                                       \
    PUF_INLINE const CONFIG *settings(const void *config) { return config != NULL ? (const CONFIG *)config : &DEFAULTS; }     \
    static size_t state_bytes(const void *config) {                                                                           \
        (void)config;                                                                                                         \
        return sizeof(STATE);                                                                                                 \
    }                                                                                                                         \
    static void init_one(const void *config, void *state, puf_rng stream) {                                                   \
        (void)config;                                                                                                         \
        ((STATE *)state)->rng = stream;                                                                                       \
    }                                                                                                                         \
    static int describe(const void *config, puf_env_info *info);                                                              \
    static void observe(const void *config, const void *state, float *obs);                                                   \
    static void reset_one(const void *config, void *state, float *obs);                                                       \
    static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,         \
                         uint8_t *terminated, uint8_t *truncated);                                                            \
    static const puf_env TABLE = {                                                                                            \
        .abi_version = PUF_ENV_ABI,                                                                                           \
        .struct_size = sizeof(puf_env),                                                                                       \
        .name = #NAME,                                                                                                        \
        .config_bytes = sizeof(CONFIG),                                                                                       \
        .describe = describe,                                                                                                 \
        .state_bytes = state_bytes,                                                                                           \
        .init_one = init_one,                                                                                                 \
        .reset_one = reset_one,                                                                                               \
        .step_one = step_one,                                                                                                 \
        .observe = observe,                                                                                                   \
    };                                                                                                                        \
    const void *puf_env_table_##NAME(int isa) {                                                                               \
        (void)isa;                                                                                                            \
        return &TABLE;                                                                                                        \
    }

#endif
