/* An environment from outside, compiled by the tests against the installed headers. A ladder of `rungs` rungs: up (1),
 * down (0) or stay (2); the top pays 1 and ends the episode. On the ground going down is masked out, and so is staying
 * everywhere if the configuration says so. At rung `nan_at` the observation is NaN. */
#include "puffer/env.h"

typedef struct {
    int32_t rungs, nan_at, empty_at, no_stay;
} ladder_config;

typedef struct {
    int32_t rung, moves;
    puf_rng rng;
} ladder;

static const ladder_config DEFAULTS = {4, -1, -1, 0};
static const ladder_config *of(const void *config) { return config != 0 ? (const ladder_config *)config : &DEFAULTS; }

static int describe(const void *config, puf_env_info *info) {
    if (of(config)->rungs < 1) { return PUF_EINVAL; }
    info->obs_size = 1;
    info->action_size = 1;
    info->action_n[0] = 3;
    info->max_episode_steps = 20;
    info->metric_count = 1;
    return PUF_OK;
}
static size_t state_bytes(const void *config) { (void)config; return sizeof(ladder); }
static void init_one(const void *config, void *state, puf_rng stream) { (void)config; ((ladder *)state)->rng = stream; }
static void observe(const void *config, const void *state, float *obs) {
    const ladder *s = (const ladder *)state;
    const float zero = 0.0f;
    *obs = s->rung == of(config)->nan_at ? zero / zero : (float)s->rung / (float)of(config)->rungs;
}
static void reset_one(const void *config, void *state, float *obs) {
    ladder *s = (ladder *)state;
    s->rung = s->moves = 0;
    observe(config, state, obs);
}
static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    ladder *s = (ladder *)state;
    const int32_t choice = *(const int32_t *)action;
    (void)truncated;
    s->moves += choice != 2;
    s->rung += choice == 1 ? 1 : (choice == 0 && s->rung > 0 ? -1 : 0);
    *terminated = s->rung >= of(config)->rungs;
    *reward = *terminated ? 1.0f : 0.0f;
    *cost = choice == 2 ? 0.5f : 0.0f;
    observe(config, state, obs);
}
static void metrics_one(const void *config, const void *state, float *metric) {
    (void)config;
    metric[0] = (float)((const ladder *)state)->moves;
}
static void mask_one(const void *config, const void *state, uint8_t *mask) {
    const ladder *s = (const ladder *)state;
    const int some = s->rung != of(config)->empty_at;
    mask[0] = (uint8_t)(some && s->rung > 0);
    mask[1] = (uint8_t)some;
    mask[2] = (uint8_t)(some && !of(config)->no_stay);
}

static const puf_env TABLE = {
    .abi_version = PUF_ENV_ABI, .struct_size = sizeof(puf_env), .name = "ladder", .config_bytes = sizeof(ladder_config),
    .describe = describe, .state_bytes = state_bytes, .init_one = init_one, .reset_one = reset_one, .step_one = step_one,
    .metrics_one = metrics_one, .observe = observe, .mask_one = mask_one,
};
const void *ladder_table(void);
const void *ladder_table(void) { return &TABLE; }
