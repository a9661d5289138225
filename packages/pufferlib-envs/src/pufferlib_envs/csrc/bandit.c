#include "bandit.h"

#include "scalar_env.h"

typedef struct {
    puf_rng rng;
} bandit;

static const puf_bandit_config DEFAULTS = {.arms = 10, .best = 3, .high = 0.8f, .low = 0.2f};

SCALAR_ENV(bandit, bandit, puf_bandit_config)

static int describe(const void *config, puf_env_info *info) {
    const puf_bandit_config *c = settings(config);
    info->obs_size = 1;
    info->action_size = 1;
    info->action_n[0] = c->arms;
    const int legal = c->arms >= 1 && c->arms <= 512 && c->best >= 0 && c->best < c->arms && c->low >= 0.0f &&
                      c->low <= c->high && c->high <= 1.0f;
    return legal ? PUF_OK : PUF_EINVAL;
}

static void observe(const void *config, const void *state, float *obs) {
    (void)config;
    (void)state;
    obs[0] = 1.0f;
}

static void reset_one(const void *config, void *state, float *obs) { observe(config, state, obs); }

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    const puf_bandit_config *c = settings(config);
    uint32_t a, b;
    (void)cost;
    (void)truncated;
    puf_rng_next(&((bandit *)state)->rng, &a, &b);
    *reward = puf_unit(a) < (*(const int32_t *)action == c->best ? c->high : c->low) ? 1.0f : 0.0f;
    *terminated = 1;
    observe(config, state, obs);
}
