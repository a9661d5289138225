/* walk: a walk on a line. Each step to the right pays 1, each to the left -1; `edge` steps to either side end the episode.
 *
 * Observation: the place, divided by `edge`. Actions: 0 left, 1 right. New episodes start at -1, 0 or 1. */
#include "puffer/env.h"

typedef struct { /* settings: the fields of WalkConfig in walk.py, in their order */
    int32_t edge, max_steps;
    float pay;
} walk_config;

typedef struct { /* the state: plain data, a multiple of 4 bytes, no pointers */
    int32_t at;
    puf_rng rng;
} walk;

static const walk_config DEFAULTS = {10, 50, 1.0f};
static const walk_config *of(const void *config) { return config != NULL ? (const walk_config *)config : &DEFAULTS; }

static int describe(const void *config, puf_env_info *info) {
    const walk_config *c = of(config);
    if (c->edge < 2 || c->max_steps < 1) { return PUF_EINVAL; }
    info->obs_size = 1;
    info->action_kind = PUF_ACTION_DISCRETE;
    info->action_size = 1; /* one component ... */
    info->action_n[0] = 2; /* ... of two choices */
    info->max_episode_steps = c->max_steps; /* the time limit is kept by the core: it truncates */
    return PUF_OK;
}

static size_t state_bytes(const void *config) {
    (void)config;
    return sizeof(walk);
}

static void init_one(const void *config, void *state, puf_rng stream) {
    (void)config;
    ((walk *)state)->rng = stream;
}

static void observe(const void *config, const void *state, float *obs) {
    obs[0] = (float)((const walk *)state)->at / (float)of(config)->edge;
}

static void reset_one(const void *config, void *state, float *obs) {
    walk *w = (walk *)state;
    uint32_t a, b;
    puf_rng_next(&w->rng, &a, &b); /* the only source of randomness */
    w->at = (int32_t)puf_below(a, 3) - 1;
    observe(config, state, obs);
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    const walk_config *c = of(config);
    walk *w = (walk *)state;
    const int32_t move = *(const int32_t *)action != 0 ? 1 : -1;
    (void)cost; /* cost, terminated and truncated come as 0 */
    (void)truncated;
    w->at += move;
    *reward = (float)move * c->pay;
    *terminated = w->at >= c->edge || w->at <= -c->edge;
    observe(config, state, obs);
}

static const puf_env TABLE = {
    .abi_version = PUF_ENV_ABI, .struct_size = sizeof(puf_env), .name = "walk", .describe = describe,
    .state_bytes = state_bytes, .init_one = init_one, .reset_one = reset_one, .step_one = step_one, .observe = observe,
};

const void *walk_table(void) { return &TABLE; }
