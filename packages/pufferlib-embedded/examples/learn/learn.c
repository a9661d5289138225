/* PPO on a device: collecting, advantages and updates by the C core's own files, in one static arena, without an operating system.
 *
 * CartPole, a small policy, few environments. It prints the mean return of the episodes that ended in the first and in the last
 * tenth of the updates, in thousandths, what it took, and a checksum of the parameters, which is the same on every target. The
 * exit status is 0 if the return has at least doubled.
 */
#include "cartpole.h"
#include "puffer/cpu.h"
#include "puffer/ppo.h"
#include "puffer/returns.h"
#include "puffer/rollout.h"
#include "report.h"

#ifndef UPDATES
#define UPDATES 60
#endif

enum { ENVS = 8, STEPS = 32, ROWS = ENVS * STEPS, HIDDEN = 16, OBS = 4, SEED = 1, TENTH = UPDATES / 10, ARENA = 64 << 10 };

static const puf_ppo_config CONFIG = {
    .clip = 0.2f, .value_coef = 0.5f, .epochs = 4, .minibatch = 64, .normalize_advantage = 1,
    .adam = {.rate = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-5f, .max_norm = 0.5f},
};
static const puf_net NET = {.obs_size = OBS, .layers = 2, .width = {HIDDEN, HIDDEN}, .action_size = 1, .action_n = {2}};
static const float GAMMA = 0.98f, LAMBDA = 0.9f, REWARD_SCALE = 0.1f;

static PUF_ALIGNED(64) unsigned char arena[ARENA];
static size_t used;

static puf_vec *vec;
static puf_policy *policy;
static puf_ppo *ppo;
static puf_segment segment;
static float *params, *m, *v, *advantage, *target, *scaled;
static int64_t gradient_steps;
static int32_t updates;
static int status;

/* Memory for as long as the program runs; NULL if there is no more. */
static void *take(size_t bytes) {
    void *here = arena + used;
    if (bytes > sizeof arena - used) { return NULL; }
    used += puf_align_up(bytes);
    return used <= sizeof arena ? here : NULL;
}

static int take_segment(void) {
    puf_segment *s = &segment;
    s->steps = STEPS;
    s->obs = take(4 * (ROWS + ENVS) * OBS);
    s->action = take(4 * ROWS);
    s->logprob = take(4 * ROWS);
    s->value = take(4 * ROWS);
    s->next_value = take(4 * ROWS);
    s->reward = take(4 * ROWS);
    s->cost = take(4 * ROWS);
    s->terminated = take(ROWS);
    s->truncated = take(ROWS);
    s->valid = take(ROWS);
    s->final_obs = take(4 * ENVS * OBS);
    s->log = take(ROWS * sizeof(puf_episode));
    advantage = take(4 * ROWS);
    target = take(4 * ROWS);
    scaled = take(4 * ROWS);
    return scaled != NULL; /* what is taken later is missing first */
}

static int set_up(void) {
    const void *env = puf_env_table_cartpole(PUF_ISA_SERIAL);
    const size_t size = 4 * (size_t)puf_net_params(&NET);
    const size_t vec_bytes = puf_vec_bytes(env, NULL, ENVS, PUF_SAME_STEP), policy_bytes = puf_policy_bytes(&NET, PUF_ISA_SERIAL, 1);
    void *vec_memory = take(vec_bytes), *policy_memory = take(policy_bytes);
    float *scratch = take(4 * (size_t)puf_net_init_scratch(&NET));
    params = take(size);
    m = take(size);
    v = take(size);
    if (!take_segment()) { return PUF_ENOMEM; }
    status = puf_vec_init(&vec, vec_memory, vec_bytes, env, NULL, ENVS, PUF_SAME_STEP, PUF_ISA_SERIAL, SEED, 0);
    if (status == PUF_OK) { status = puf_policy_init(&policy, policy_memory, policy_bytes, &NET, PUF_ISA_SERIAL, 1); }
    if (status == PUF_OK) { status = puf_net_init(&NET, SEED, 0.0f, params, scratch); }
    if (status == PUF_OK) { status = puf_policy_load(policy, params, NULL, NULL, 0.0f); }
    if (status != PUF_OK) { return status; }
    const size_t ppo_bytes = puf_ppo_bytes(policy, ROWS, CONFIG.minibatch, STEPS, PUF_ADAM);
    void *ppo_memory = take(ppo_bytes);
    if (ppo_memory == NULL) { return PUF_ENOMEM; }
    status = puf_ppo_init(&ppo, ppo_memory, ppo_bytes, policy, ROWS, CONFIG.minibatch, STEPS, PUF_ADAM);
    return status == PUF_OK ? puf_vec_reset(vec, NULL, NULL, segment.obs, NULL) : status;
}

/* A segment, and what it is worth. */
static void collect(void) {
    const puf_segment *s = &segment;
    int64_t bad_row;
    status = puf_collect(vec, policy, NULL, s, SEED, (uint64_t)updates * STEPS, &bad_row);
    if (status < 0) { return; }
    for (int32_t k = 0; k < ROWS; k++) { scaled[k] = s->reward[k] * REWARD_SCALE; }
    status = puf_gae(PUF_ISA_SERIAL, NULL, advantage, scaled, s->value, s->next_value, s->terminated, s->truncated, STEPS, ENVS, GAMMA,
                     LAMBDA);
    for (int32_t k = 0; k < ROWS; k++) { target[k] = advantage[k] + s->value[k]; }
}

static void update(void) {
    const puf_segment *s = &segment;
    const puf_batch batch = {.obs = s->obs, .action = s->action, .logprob = s->logprob, .advantage = advantage, .target = target,
                             .value = s->value, .valid = s->valid, .rows = ROWS};
    puf_ppo_metrics metrics;
    status = puf_ppo_update(ppo, NULL, &CONFIG, &batch, SEED, (uint64_t)updates, params, m, v, &gradient_steps, &metrics);
    updates++;
    puf_copy(s->obs, s->obs + ROWS * OBS, 4 * ENVS * OBS); /* the last row becomes the first of the next segment */
}

/* Adds the episodes of the segment. */
static void count(float *returned, uint32_t *episodes) {
    for (int32_t k = 0; k < ROWS; k++) {
        if ((segment.terminated[k] | segment.truncated[k]) == 0) { continue; }
        *returned += segment.log[k].episode_return;
        (*episodes)++;
    }
}

/* FNV-1a over the bits of the parameters. */
static uint32_t checksum(void) {
    const unsigned char *bytes = (const unsigned char *)params;
    uint32_t hash = 2166136261u;
    for (int64_t i = 0; i < 4 * puf_net_params(&NET); i++) { hash = (hash ^ bytes[i]) * 16777619u; }
    return hash;
}

static uint32_t thousandths(float returned, uint32_t episodes) {
    return episodes > 0 ? (uint32_t)(returned * 1000.0f / (float)episodes) : 0;
}

int main(void) {
    float before = 0.0f, after = 0.0f;
    uint32_t episodes_before = 0, episodes_after = 0;
    if (set_up() != PUF_OK) { return 2; }
    report("arena", (uint32_t)used);
    report("parameters", (uint32_t)puf_net_params(&NET));
    report("collect_instructions", port_instructions(collect));
    report("update_instructions", port_instructions(update));
    report("collect_stack", port_stack(collect));
    report("update_stack", port_stack(update));
    while ((status == PUF_OK) && (updates < UPDATES)) {
        collect();
        if (updates < TENTH) { count(&before, &episodes_before); }
        if (updates >= UPDATES - TENTH) { count(&after, &episodes_after); }
        if (status == PUF_OK) { update(); }
    }
    report("steps", (uint32_t)(updates * ROWS));
    report("return_before_e3", thousandths(before, episodes_before));
    report("return_after_e3", thousandths(after, episodes_after));
    report("checksum", checksum());
    return ((status == PUF_OK) && (thousandths(after, episodes_after) >= 2 * thousandths(before, episodes_before))) ? 0 : 1;
}
