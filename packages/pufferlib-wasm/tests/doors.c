/* An environment of one's own that masks actions. Three doors, of which one has a prize that is shown; the door that was opened last is
 * shut, and nobody knocks twice in a row. Whoever does what is masked gets NaN, so that a run that does it fails. */
#include "puffer/env.h"

typedef struct {
    int32_t max_steps;
    float prize;
    int32_t sees_last; /* observations tell the door that is shut */
    float scale;       /* of observations */
} doors_config;

typedef struct {
    int32_t last, knocked, wanted;
    puf_rng rng;
} doors;

static const doors_config DEFAULTS = {12, 1.0f, 1, 1.0f};
static const doors_config *of(const void *config) { return config != 0 ? (const doors_config *)config : &DEFAULTS; }

static int describe(const void *config, puf_env_info *info) {
    if (of(config)->max_steps < 1) { return PUF_EINVAL; }
    info->obs_size = 2 + (of(config)->sees_last != 0);
    info->action_size = 2;
    info->action_n[0] = 3;
    info->action_n[1] = 2;
    info->max_episode_steps = of(config)->max_steps;
    return PUF_OK;
}
static size_t state_bytes(const void *config) { (void)config; return sizeof(doors); }
static void init_one(const void *config, void *state, puf_rng stream) { (void)config; ((doors *)state)->rng = stream; }
static void observe(const void *config, const void *state, float *obs) {
    const doors *s = (const doors *)state;
    const float scale = of(config)->scale;
    obs[0] = scale * ((float)s->wanted - 1.0f);
    obs[1] = scale * (float)s->knocked;
    if (of(config)->sees_last) { obs[2] = scale * (float)s->last / 3.0f; }
}
static void hide(doors *s) {
    uint32_t word, unused;
    puf_rng_next(&s->rng, &word, &unused);
    s->wanted = (int32_t)puf_below(word, 3);
}
static void reset_one(const void *config, void *state, float *obs) {
    doors *s = (doors *)state;
    s->last = 3;
    s->knocked = 0;
    hide(s);
    observe(config, state, obs);
}
static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost, uint8_t *terminated,
                     uint8_t *truncated) {
    doors *s = (doors *)state;
    const int32_t *choice = (const int32_t *)action;
    const float zero = 0.0f;
    (void)cost, (void)truncated;
    *terminated = 0;
    *reward = choice[0] == s->wanted ? of(config)->prize : 0.0f;
    if (choice[0] == s->last || (choice[1] && s->knocked)) { *reward = zero / zero; }
    s->last = choice[0];
    s->knocked = choice[1];
    hide(s);
    observe(config, state, obs);
}
static void mask_one(const void *config, const void *state, uint8_t *mask) {
    const doors *s = (const doors *)state;
    (void)config;
    for (int32_t k = 0; k < 3; k++) { mask[k] = (uint8_t)(k != s->last); }
    mask[3] = 1;
    mask[4] = (uint8_t)!s->knocked;
}

static const puf_env TABLE = {
    .abi_version = PUF_ENV_ABI, .struct_size = sizeof(puf_env), .name = "doors", .config_bytes = sizeof(doors_config),
    .describe = describe, .state_bytes = state_bytes, .init_one = init_one, .reset_one = reset_one, .step_one = step_one,
    .observe = observe, .mask_one = mask_one,
};
const void *doors_table(void);
const void *doors_table(void) { return &TABLE; }
