#include "memory.h"

#include "scalar_env.h"

typedef struct {
    int32_t symbol, time;
    puf_rng rng;
} memory;

static const puf_memory_config DEFAULTS = {.length = 4, .symbols = 2};

SCALAR_ENV(memory, memory, puf_memory_config)

static int describe(const void *config, puf_env_info *info) {
    const puf_memory_config *c = settings(config);
    info->obs_size = c->symbols + 1;
    info->action_size = 1;
    info->action_n[0] = c->symbols;
    return c->length >= 0 && c->length <= 1000000 && c->symbols >= 2 && c->symbols <= 64 ? PUF_OK : PUF_EINVAL;
}

static void observe(const void *config, const void *state, float *obs) {
    const puf_memory_config *c = settings(config);
    const memory *m = (const memory *)state;
    for (int32_t k = 0; k < c->symbols; k++) { obs[k] = m->time == 0 && k == m->symbol ? 1.0f : 0.0f; }
    obs[c->symbols] = m->time == c->length ? 1.0f : 0.0f;
}

static void reset_one(const void *config, void *state, float *obs) {
    memory *m = (memory *)state;
    uint32_t a, b;
    puf_rng_next(&m->rng, &a, &b);
    m->symbol = (int32_t)puf_below(a, (uint32_t)settings(config)->symbols);
    m->time = 0;
    observe(config, state, obs);
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    memory *m = (memory *)state;
    (void)cost;
    (void)truncated;
    *terminated = m->time == settings(config)->length;
    *reward = *terminated && *(const int32_t *)action == m->symbol ? 1.0f : 0.0f;
    m->time++;
    observe(config, state, obs);
}
