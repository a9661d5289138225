#include "deep_sea.h"

#include "scalar_env.h"

typedef struct {
    int32_t row, column;
    puf_rng rng;
} deep_sea;

static const puf_deep_sea_config DEFAULTS = {.size = 10, .map_seed = 0};

SCALAR_ENV(deep_sea, deep_sea, puf_deep_sea_config)

static int describe(const void *config, puf_env_info *info) {
    const int32_t size = settings(config)->size;
    if (size < 2 || size > 64) { return PUF_EINVAL; }
    info->obs_size = size * size;
    info->action_size = 1;
    info->action_n[0] = 2;
    return PUF_OK;
}

static void observe(const void *config, const void *state, float *obs) {
    const deep_sea *s = (const deep_sea *)state;
    const int32_t size = settings(config)->size;
    for (int32_t k = 0; k < size * size; k++) { obs[k] = 0.0f; }
    if (s->row < size) { obs[s->row * size + s->column] = 1.0f; }
}

static void reset_one(const void *config, void *state, float *obs) {
    deep_sea *s = (deep_sea *)state;
    s->row = s->column = 0;
    observe(config, state, obs);
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    const puf_deep_sea_config *c = settings(config);
    deep_sea *s = (deep_sea *)state;
    const int32_t last = c->size - 1;
    uint32_t a, b;
    (void)cost;
    (void)truncated;
    puf_threefry(c->map_seed, 0, (uint32_t)(s->row * c->size + s->column), 0, &a, &b);
    const int right = *(const int32_t *)action == (int32_t)(a & 1u);
    *reward = right ? (s->row == last && s->column == last ? 1.0f : 0.0f) - 0.01f / (float)c->size : 0.0f;
    s->column += right ? (s->column < last) : -(s->column > 0);
    s->row++;
    *terminated = s->row == c->size;
    observe(config, state, obs);
}
