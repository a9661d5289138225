/* One episode on the device: the environment of the C core, unchanged, and the policy in a loop. The exit status is 0 if its
 * length and its return are those of the host to the bit. */
#include "$name.h"
#include "policy.h"
#include "puffer/cpu.h"
#include "report.h"

enum { SEED = $seed, LENGTH = $length };

static const puf_${name}_config CONFIG = $config;
static const uint32_t HOST_RETURN = $returned; /* the bits of a float */
static policy_state state;
static policy_action action;
static float obs[POLICY_OBS];
PUF_ALIGNED(64) static unsigned char batch[4096];

/* Both kinds of environments (puffer/env.h) as one with a single body. Returns 0 if it does not fit into `batch`. */
static int start(const puf_env *env) {
    const puf_rng stream = puf_rng_stream(SEED, 0);
    const int32_t first = 0;
    const int scalar = env->step_one != NULL;
    if ((scalar ? env->state_bytes(&CONFIG) : env->batch_bytes(&CONFIG, 1)) > sizeof batch) { return 0; }
    if (scalar) {
        env->init_one(&CONFIG, batch, stream);
        env->reset_one(&CONFIG, batch, obs);
    } else {
        env->init(&CONFIG, batch, 1, 0, stream);
        env->reset(&CONFIG, batch, 1, &first, 1, obs);
    }
    return 1;
}

/* Returns 1 if the episode ended with the step. */
static int step(const puf_env *env, float *reward) {
    float cost = 0.0f;
    uint8_t terminated = 0, truncated = 0;
    if (env->step_one != NULL) {
        env->step_one(&CONFIG, batch, &action, obs, reward, &cost, &terminated, &truncated);
    } else {
        env->step(&CONFIG, batch, 1, 0, 1, &action, obs, reward, &cost, &terminated, &truncated);
    }
    return (terminated | truncated) != 0;
}

int main(void) {
    const puf_env *env = (const puf_env *)puf_env_table_$name(PUF_ISA_SERIAL);
    puf_env_info info = {0};
    uint32_t bits, length = 0;
    float returned = 0.0f;
    int ended = 0;
    if ((env->describe(&CONFIG, &info) != PUF_OK) || !start(env)) { return 2; }
    policy_reset(&state);
    while (!ended) {
        float reward = 0.0f;
        if (policy_step(&state, obs, &action) != POLICY_OK) { return 3; }
        ended = step(env, &reward);
        returned += reward;
        length++;
        ended |= (info.max_episode_steps > 0) && (length >= (uint32_t)info.max_episode_steps);
    }
    puf_copy(&bits, &returned, sizeof bits);
    report("length", length);
    report("same_return", bits == HOST_RETURN);
    return ((length == LENGTH) && (bits == HOST_RETURN)) ? 0 : 1;
}
