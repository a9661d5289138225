/* An environment whose step costs as much as its action says: `action` times 20 rounds of the random stream (about 0.3
 * microseconds). */
#include "puffer/env.h"

static int describe(const void *config, puf_env_info *info) {
    (void)config;
    info->obs_size = 1;
    info->action_kind = PUF_ACTION_DISCRETE;
    info->action_size = 1;
    info->action_n[0] = 101;
    return PUF_OK;
}

static size_t state_bytes(const void *config) {
    (void)config;
    return sizeof(puf_rng);
}

static void init_one(const void *config, void *state, puf_rng stream) {
    (void)config;
    *(puf_rng *)state = stream;
}

static void reset_one(const void *config, void *state, float *obs) {
    (void)config;
    (void)state;
    obs[0] = 0.0f;
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    uint32_t a = 0, b = 0;
    (void)config;
    for (int32_t k = 20 * *(const int32_t *)action; k > 0; k--) { puf_rng_next((puf_rng *)state, &a, &b); }
    obs[0] = puf_unit(a);
    reward[0] = cost[0] = 0.0f;
    terminated[0] = truncated[0] = 0;
}

static const puf_env TABLE = {
    .abi_version = PUF_ENV_ABI,
    .struct_size = sizeof(puf_env),
    .describe = describe,
    .state_bytes = state_bytes,
    .init_one = init_one,
    .reset_one = reset_one,
    .step_one = step_one,
};

const void *uneven_table(void);
const void *uneven_table(void) { return &TABLE; }
