/* A walk on a line: each step to the right pays 1, each to the left -1; ten to either side ends the episode. */
#include "puffer/env.h"

typedef struct { int32_t at; puf_rng rng; } walk; /* the canonical state: plain, a multiple of 4 bytes */

static int describe(const void *config, puf_env_info *info) {
    (void)config;
    info->obs_size = 1;
    info->action_kind = PUF_ACTION_DISCRETE;
    info->action_size = 1;   /* one component ... */
    info->action_n[0] = 2;   /* ... of two choices */
    info->max_episode_steps = 50; /* the time limit is kept by the core */
    return PUF_OK;
}

static size_t state_bytes(const void *config) { (void)config; return sizeof(walk); }

static void init_one(const void *config, void *state, puf_rng stream) { (void)config; ((walk *)state)->rng = stream; }

static void observe(const void *config, const void *state, float *obs) {
    (void)config;
    obs[0] = (float)((const walk *)state)->at / 10.0f;
}

static void reset_one(const void *config, void *state, float *obs) {
    uint32_t a, b;
    puf_rng_next(&((walk *)state)->rng, &a, &b); /* the only source of randomness */
    ((walk *)state)->at = (int32_t)puf_below(a, 3) - 1;
    observe(config, state, obs);
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    walk *w = (walk *)state;
    const int32_t move = *(const int32_t *)action ? 1 : -1;
    (void)cost; (void)truncated; /* preset to 0 */
    w->at += move;
    *reward = (float)move;
    *terminated = w->at >= 10 || w->at <= -10;
    observe(config, state, obs);
}

static const puf_env TABLE = {
    .abi_version = PUF_ENV_ABI, .struct_size = sizeof(puf_env), .name = "walk", .describe = describe,
    .state_bytes = state_bytes, .init_one = init_one, .reset_one = reset_one, .step_one = step_one, .observe = observe,
};

const void *walk_table(void) { return &TABLE; }
