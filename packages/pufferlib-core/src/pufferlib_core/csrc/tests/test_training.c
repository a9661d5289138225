/* A scalar environment defined here, stepped, collected from and trained on by several threads: for the sanitizers, and the
 * rule that threads change no bit. With an argument, as under valgrind, where threads that wait for each other take turns, it meets
 * every kernel but does not wait until something is learnt. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "puffer/puffer.h"

/* Walk on a line to +-4; each move costs, the right end pays. The state counts its moves as a metric. */
typedef struct {
    int32_t at, moves;
    puf_rng rng;
} walk;

static int describe(const void *config, puf_env_info *info) {
    (void)config;
    *info = (puf_env_info){.obs_size = 2, .action_kind = PUF_ACTION_DISCRETE, .action_size = 1, .action_n = {3},
                           .max_episode_steps = 20, .metric_count = 1};
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
    (void)config;
    obs[0] = (float)((const walk *)state)->at;
    obs[1] = 1.0f;
}
static void reset_one(const void *config, void *state, float *obs) {
    walk *w = (walk *)state;
    uint32_t a, b;
    puf_rng_next(&w->rng, &a, &b);
    w->at = (int32_t)puf_below(a, 5) - 2;
    w->moves = 0;
    observe(config, state, obs);
}
static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    walk *w = (walk *)state;
    (void)truncated;
    w->at += *(const int32_t *)action - 1;
    w->moves++;
    *terminated = w->at <= -4 || w->at >= 4;
    *reward = w->at >= 4 ? 1.0f : -0.05f;
    *cost = w->at < 0 ? 1.0f : 0.0f;
    observe(config, state, obs);
}
static void metrics_one(const void *config, const void *state, float *metric) {
    (void)config;
    metric[0] = (float)((const walk *)state)->moves;
}
static const puf_env WALK = {.abi_version = PUF_ENV_ABI, .struct_size = sizeof(puf_env), .name = "walk", .describe = describe,
                             .state_bytes = state_bytes, .init_one = init_one, .reset_one = reset_one, .step_one = step_one,
                             .metrics_one = metrics_one, .observe = observe};

enum { ENVS = 77, STEPS = 16, ROWS = ENVS * STEPS };
static int brief;

typedef struct {
    puf_pool *pool;
    const puf_exec *exec;
    void *mem;
} threads;

static threads start(int32_t count) {
    threads t = {NULL, NULL, block(puf_pool_bytes(count))};
    CHECK(puf_pool_start(&t.pool, t.mem, puf_pool_bytes(count), count) == PUF_OK);
    t.exec = puf_pool_exec(t.pool);
    return t;
}

static void stop(threads t) {
    puf_pool_stop(t.pool);
    free(t.mem);
}

static void count_task(void *context, int32_t index, int32_t thread) {
    CHECK(thread >= 0 && thread < 4);
    ((int32_t *)context)[index]++;
}

static void pool_runs_each_task_once(void) {
    threads t = start(4);
    int32_t *seen = (int32_t *)block(1000 * 4);
    const int rounds = brief ? 20 : 300;
    for (int round = 0; round < rounds; round++) { puf_exec_run(t.exec, count_task, seen, 1 + round); }
    CHECK(seen[0] == rounds && seen[rounds - 1] == 1 && seen[rounds] == 0);
    free(seen);
    stop(t);
}

/* Task 0 ends after all others: somebody else must do those that stood behind it. */
static void wait_for_others(void *context, int32_t index, int32_t thread) {
    atomic_int *done = (atomic_int *)context;
    (void)thread;
    while (index == 0 && atomic_load(done) < 99) { sched_yield(); }
    atomic_fetch_add(done, 1);
}

static void pool_shares_out_what_waits_behind_a_long_task(void) {
    threads t = start(2);
    for (int round = 0; round < (brief ? 2 : 20); round++) {
        atomic_int done = 0;
        puf_exec_run(t.exec, wait_for_others, &done, 100);
        CHECK(atomic_load(&done) == 100);
    }
    stop(t);
}

typedef struct {
    puf_segment s;
    puf_vec *vec;
    void *vec_mem;
} world;

static world make_world(int autoreset) {
    world w = {0};
    const size_t bytes = puf_vec_bytes(&WALK, NULL, ENVS, autoreset);
    w.vec_mem = block(bytes);
    CHECK(puf_vec_init(&w.vec, w.vec_mem, bytes, &WALK, NULL, ENVS, autoreset, puf_isa_best(), 5, 0) == PUF_OK);
    w.s = (puf_segment){.obs = block((ROWS + ENVS) * 8), .action = block(ROWS * 4), .logprob = block(ROWS * 4),
                        .value = block(ROWS * 4), .next_value = block(ROWS * 4), .reward = block(ROWS * 4),
                        .cost = block(ROWS * 4), .terminated = block(ROWS), .truncated = block(ROWS), .valid = block(ROWS),
                        .final_obs = block(ENVS * 8), .log = block(ROWS * sizeof(puf_episode)), .steps = STEPS};
    CHECK(puf_vec_reset(w.vec, NULL, NULL, w.s.obs, NULL) == PUF_OK);
    return w;
}

static void free_world(world w) {
    void *all[] = {w.s.obs, w.s.action, w.s.logprob, w.s.value, w.s.next_value, w.s.reward, w.s.cost, w.s.terminated,
                   w.s.truncated, w.s.valid, w.s.final_obs, w.s.log, w.vec_mem};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) { free(all[i]); }
}

/* Trains for some updates; returns the parameters, whose number is written to `count`. */
static float *train(int32_t width, int autoreset, int core, int optimizer, int64_t *count, float *mean_reward) {
    threads t = start(width);
    world w = make_world(autoreset);
    const puf_net net = {.obs_size = 2, .layers = 2, .width = {20, 12}, .activation = PUF_RELU, .core = core,
                         .core_size = core == PUF_NO_CORE ? 0 : 21, .separate = core == PUF_GRU, .action_size = 1, .action_n = {3}};
    const int64_t n = *count = puf_net_params(&net);
    const uint64_t updates = core == PUF_NO_CORE && !brief ? 20 : 2;
    const int32_t epochs = brief ? 1 : 4;
    const int32_t carry = puf_net_carry(&net), minibatch = core == PUF_NO_CORE ? ROWS / 2 : ROWS;
    w.s.carry = carry > 0 ? (float *)block((size_t)(2 * ENVS * carry) * 4) : NULL;
    float *params = (float *)block((size_t)n * 4), *m = (float *)block((size_t)n * 4), *v = (float *)block((size_t)n * 4);
    float *scratch = (float *)block((size_t)puf_net_init_scratch(&net) * 4);
    CHECK(puf_net_init(&net, 1, 0.0f, params, scratch) == PUF_OK);
    const size_t policy_bytes = puf_policy_bytes(&net, puf_isa_best(), width);
    void *policy_mem = block(policy_bytes);
    puf_policy *policy;
    CHECK(puf_policy_init(&policy, policy_mem, policy_bytes, &net, puf_isa_best(), width) == PUF_OK);
    const size_t ppo_bytes = puf_ppo_bytes(policy, ROWS, minibatch, STEPS, optimizer);
    void *ppo_mem = block(ppo_bytes);
    puf_ppo *ppo;
    CHECK(puf_ppo_init(&ppo, ppo_mem, ppo_bytes, policy, ROWS, minibatch, STEPS, optimizer) == PUF_OK);
    const puf_ppo_config config = {.clip = 0.2f, .value_coef = 0.5f, .entropy_coef = 0.01f, .epochs = epochs,
                                   .minibatch = minibatch, .normalize_advantage = 1, .adam = {1e-2f, 0.9f, 0.999f, 1e-5f, 0.0f, 0.5f},
                                   .momentum = 0.95f};
    float *adv = (float *)block(ROWS * 4), *target = (float *)block(ROWS * 4);
    int64_t step = 0;
    puf_ppo_metrics metrics;
    for (uint64_t update = 0; update < updates; update++) {
        int64_t bad;
        CHECK(puf_policy_load(policy, params, NULL, NULL, 0.0f) == PUF_OK);
        CHECK(puf_collect(w.vec, policy, t.exec, &w.s, 9, update * STEPS, &bad) >= 0 && bad == -1);
        CHECK(puf_gae(puf_isa_best(), t.exec, adv, w.s.reward, w.s.value, w.s.next_value, w.s.terminated, w.s.truncated, STEPS,
                      ENVS, 0.99f, 0.95f) == PUF_OK);
        for (int i = 0; i < ROWS; i++) { target[i] = adv[i] + w.s.value[i]; }
        const puf_batch batch = {.obs = w.s.obs, .action = w.s.action, .logprob = w.s.logprob, .advantage = adv, .target = target,
                                 .value = w.s.value, .valid = w.s.valid, .rows = ROWS, .terminated = w.s.terminated,
                                 .truncated = w.s.truncated, .carry = w.s.carry};
        CHECK(puf_ppo_update(ppo, t.exec, &config, &batch, 9, update, params, m, v, &step, &metrics) == PUF_OK);
        memcpy(w.s.obs, w.s.obs + ROWS * 2, ENVS * 8);
        if (carry > 0) { memcpy(w.s.carry, w.s.carry + ENVS * carry, (size_t)(ENVS * carry) * 4); }
    }
    const int32_t each = epochs * ROWS / minibatch;
    CHECK(step == (int64_t)updates * each && metrics.minibatches == each && metrics.grad_norm > 0.0f);
    *mean_reward = 0.0f;
    for (int i = 0; i < ROWS; i++) {
        *mean_reward += w.s.reward[i] / ROWS;
        if (w.s.terminated[i] | w.s.truncated[i]) { CHECK((float)w.s.log[i].episode_length == w.s.log[i].metric[0]); }
    }
    void *all[] = {m, v, scratch, policy_mem, ppo_mem, adv, target, w.s.carry};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) { free(all[i]); }
    free_world(w);
    stop(t);
    return params;
}

typedef struct {
    int autoreset, core, optimizer;
    float *params, reward;
} alone;

static void *train_alone(void *context) {
    alone *run = (alone *)context;
    int64_t count;
    run->params = train(1, run->autoreset, run->core, run->optimizer, &count, &run->reward);
    return NULL;
}

/* Both runs at the same time: one thread may collect while another learns, each with memory and a pool of its own. */
static void threads_change_no_bit_and_it_learns(void) {
    for (int kind = 0; kind < 7; kind++) { /* the last one by Muon */
        if (brief && (kind == 3 || kind == 5)) { continue; } /* both modes of autoreset, each core, both optimisers */
        const int autoreset = kind % 2 ? PUF_NEXT_STEP : PUF_SAME_STEP, core = kind < 6 ? kind / 2 : PUF_NO_CORE;
        const int optimizer = kind < 6 ? PUF_ADAM : PUF_MUON;
        float many_reward;
        int64_t count;
        alone one = {.autoreset = autoreset, .core = core, .optimizer = optimizer};
        pthread_t other;
        CHECK(pthread_create(&other, NULL, train_alone, &one) == 0);
        float *many = train(brief ? 2 : 4, autoreset, core, optimizer, &count, &many_reward);
        pthread_join(other, NULL);
        CHECK(memcmp(one.params, many, (size_t)count * 4) == 0);
        CHECK(one.reward == many_reward && (one.reward > 0.05f || core != PUF_NO_CORE || brief));
        free(one.params);
        free(many);
    }
}

/* Two choices, masked, and two numbers: rewarded for choice 1 and high numbers, so that both kinds of heads move. */
static void actions_that_mix_choices_and_numbers(void) {
    const puf_net net = {.obs_size = 2, .layers = 1, .width = {20}, .action_size = 4, .action_numbers = 2, .action_n = {3, 2}};
    const int64_t n = puf_net_params(&net);
    CHECK(puf_net_logits(&net) == 7 && n == 2 * 20 + 20 + 20 * 7 + 7 + 20 + 1 + 2);
    float *params = (float *)block((size_t)n * 4), *m = (float *)block((size_t)n * 4), *v = (float *)block((size_t)n * 4);
    float *init = (float *)block((size_t)puf_net_init_scratch(&net) * 4);
    CHECK(puf_net_init(&net, 1, -0.5f, params, init) == PUF_OK && params[n - 1] == -0.5f && params[n - 2] == -0.5f);
    const size_t policy_bytes = puf_policy_bytes(&net, puf_isa_best(), 1);
    void *policy_mem = block(policy_bytes);
    puf_policy *policy;
    CHECK(puf_policy_init(&policy, policy_mem, policy_bytes, &net, puf_isa_best(), 1) == PUF_OK);
    const size_t ppo_bytes = puf_ppo_bytes(policy, ENVS, ENVS, 1, PUF_ADAM);
    void *ppo_mem = block(ppo_bytes);
    puf_ppo *ppo;
    CHECK(puf_ppo_init(&ppo, ppo_mem, ppo_bytes, policy, ENVS, ENVS, 1, PUF_ADAM) == PUF_OK);
    float *obs = (float *)block(ENVS * 8), *row = (float *)block(4 * ENVS * 4);
    int32_t *action = (int32_t *)block(ENVS * 16);
    uint8_t *mask = (uint8_t *)block(ENVS * 5), *valid = (uint8_t *)block(ENVS);
    for (int i = 0; i < ENVS * 5; i++) { mask[i] = i % 5 != 2; } /* never choice 2 of the first */
    memset(valid, 1, ENVS);
    const puf_ppo_config config = {.clip = 0.2f, .value_coef = 0.5f, .epochs = 4, .minibatch = ENVS, .normalize_advantage = 1,
                                   .adam = {1e-2f, 0.9f, 0.999f, 1e-5f, 0.0f, 0.5f}};
    const puf_batch batch = {.obs = obs, .action = action, .action_mask = mask, .logprob = row, .advantage = row + ENVS,
                             .target = row + 2 * ENVS, .value = row + 3 * ENVS, .valid = valid, .rows = ENVS};
    int64_t step = 0;
    puf_ppo_metrics metrics;
    float first = 0.0f, last = 0.0f;
    const uint64_t updates = brief ? 2 : 40;
    for (uint64_t update = 0; update < updates; update++) {
        CHECK(puf_policy_load(policy, params, NULL, NULL, 0.0f) == PUF_OK);
        CHECK(puf_policy_act(policy, NULL, obs, mask, ENVS, 9, 0, update, 0, NULL, action, row, row + 3 * ENVS) == PUF_OK);
        float mean = 0.0f;
        for (int i = 0; i < ENVS; i++) {
            const float *number = (const float *)(action + 4 * i + 2);
            CHECK(action[4 * i] >= 0 && action[4 * i] < 2 && action[4 * i + 1] >= 0 && action[4 * i + 1] < 2);
            row[ENVS + i] = (float)(action[4 * i] + action[4 * i + 1]) + number[0] + number[1];
            row[2 * ENVS + i] = row[ENVS + i];
            mean += row[ENVS + i] / ENVS;
        }
        first = update == 0 ? mean : first;
        last = mean;
        CHECK(puf_ppo_update(ppo, NULL, &config, &batch, 9, update, params, m, v, &step, &metrics) == PUF_OK);
    }
    CHECK(step == 4 * (int64_t)updates && (last > first + 1.5f || brief));
    void *all[] = {params, m, v, init, policy_mem, ppo_mem, obs, row, action, mask, valid};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) { free(all[i]); }
}

/* Gradient of a network with encoders for an image, a vector and numbers as they are, whose sizes fill no vector. */
static float *encoded_gradient(int32_t width, int isa, const puf_net *net, const float *params) {
    enum { IMAGES = 150 };
    threads t = start(width);
    const size_t policy_bytes = puf_policy_bytes(net, isa, width);
    void *policy_mem = block(policy_bytes);
    puf_policy *policy;
    CHECK(puf_policy_init(&policy, policy_mem, policy_bytes, net, isa, width) == PUF_OK);
    const size_t ppo_bytes = puf_ppo_bytes(policy, IMAGES, IMAGES, 1, PUF_ADAM);
    void *ppo_mem = block(ppo_bytes);
    puf_ppo *ppo;
    CHECK(puf_ppo_init(&ppo, ppo_mem, ppo_bytes, policy, IMAGES, IMAGES, 1, PUF_ADAM) == PUF_OK);
    float *obs = (float *)block((size_t)(IMAGES * net->obs_size) * 4), *row = (float *)block(IMAGES * 16);
    float *logits = (float *)block(IMAGES * 12), *value = (float *)block(IMAGES * 4), alone[3];
    float *grads = (float *)block((size_t)puf_net_params(net) * 4);
    int32_t *action = (int32_t *)block(IMAGES * 4), *index = (int32_t *)block(IMAGES * 4);
    uint8_t *valid = (uint8_t *)block(IMAGES);
    for (int i = 0; i < IMAGES * net->obs_size; i++) { obs[i] = (float)(i * 7 % 31) / 31.0f; }
    for (int i = 0; i < IMAGES; i++) {
        action[i] = i % 3;
        index[i] = i;
        valid[i] = i % 5 != 0;
        row[IMAGES + i] = (float)(i % 4) - 1.5f;
    }
    CHECK(puf_policy_load(policy, params, NULL, NULL, 0.0f) == PUF_OK);
    CHECK(puf_policy_forward(policy, t.exec, obs, NULL, IMAGES, logits, value) == PUF_OK);
    CHECK(puf_policy_forward(policy, NULL, obs + 77 * net->obs_size, NULL, 1, alone, NULL) == PUF_OK);
    CHECK(memcmp(alone, logits + 77 * 3, sizeof alone) == 0);
    const puf_ppo_config config = {.clip = 0.2f, .value_coef = 0.5f, .epochs = 1, .minibatch = IMAGES};
    const puf_batch batch = {.obs = obs, .action = action, .logprob = row, .advantage = row + IMAGES,
                             .target = row + 2 * IMAGES, .value = row + 3 * IMAGES, .valid = valid, .rows = IMAGES};
    CHECK(puf_ppo_gradient(ppo, t.exec, &config, &batch, index, IMAGES, params, grads, NULL) == PUF_OK);
    CHECK(puf_ppo_gradient(ppo, t.exec, &config, &batch, index, IMAGES + 1, params, grads, NULL) == PUF_EINVAL);
    void *all[] = {policy_mem, ppo_mem, obs, row, logits, value, action, index, valid};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) { free(all[i]); }
    stop(t);
    return grads;
}

static void encoders_on_every_isa(void) {
    const puf_net net = {
        .obs_size = 9 * 7 * 3 + 4 + 2, .encoders = 3, .layers = 1, .width = {10}, .action_size = 1, .action_n = {3}, .separate = 1,
        .encoder = {{9 * 7 * 3, 9, 7, 3, 2, {20, 5}, {3, 2}, {2, 1}}, {.size = 4, .layers = 2, .out = {3, 17}}, {.size = 2}}};
    const int64_t n = puf_net_params(&net);
    CHECK(puf_net_encoded(&net) == 3 * 2 * 5 + 17 + 2);
    float *params = (float *)block((size_t)n * 4), *init = (float *)block((size_t)puf_net_init_scratch(&net) * 4);
    CHECK(puf_net_init(&net, 1, 0.0f, params, init) == PUF_OK);
    float *plain = encoded_gradient(1, PUF_ISA_SERIAL, &net, params);
    for (int isa = 0; isa < PUF_ISA_COUNT; isa++) {
        if (!puf_isa_usable(isa)) { continue; }
        float *one = encoded_gradient(1, isa, &net, params), *three = encoded_gradient(3, isa, &net, params);
        CHECK(memcmp(one, three, (size_t)n * 4) == 0);
        for (int64_t i = 0; i < n; i++) { CHECK(one[i] - plain[i] < 1e-5f && plain[i] - one[i] < 1e-5f); }
        free(one);
        free(three);
    }
    void *all[] = {params, init, plain};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) { free(all[i]); }
}

static void illegal_calls(void) {
    puf_env broken = WALK;
    puf_env_info info;
    broken.struct_size = 3;
    CHECK(puf_env_describe(&broken, NULL, &info) == PUF_EABI && puf_vec_bytes(&broken, NULL, 4, 0) == 0);
    broken = WALK;
    broken.step_one = NULL;
    CHECK(puf_env_describe(&broken, NULL, &info) == PUF_EINVAL && puf_vec_bytes(&WALK, NULL, 0, 0) == 0);
    world w = make_world(PUF_NO_RESET);
    int32_t action[ENVS] = {3};
    const puf_planes out = {.obs = w.s.obs, .reward = w.s.reward, .terminated = w.s.terminated, .truncated = w.s.truncated};
    CHECK(puf_vec_step(w.vec, NULL, action, &out) == PUF_EINVAL);
    action[0] = 2;
    CHECK(puf_vec_step(w.vec, NULL, action, &out) >= 0);
    unsigned char record[64], again[64];
    CHECK(puf_vec_record_bytes(w.vec) <= sizeof record && puf_vec_save(w.vec, 0, record) == PUF_OK);
    CHECK(puf_vec_load(w.vec, 3, record) == PUF_OK && puf_vec_save(w.vec, 3, again) == PUF_OK);
    static unsigned char all[ENVS * sizeof record];
    CHECK(puf_vec_save_all(w.vec, all) == PUF_OK && puf_vec_save_all(w.vec, NULL) == PUF_EINVAL);
    CHECK(memcmp(record, all + 3 * puf_vec_record_bytes(w.vec), puf_vec_record_bytes(w.vec)) == 0);
    CHECK(puf_vec_save_all(NULL, all) == PUF_EINVAL);
    CHECK(memcmp(record, again, puf_vec_record_bytes(w.vec)) == 0 && puf_vec_save(w.vec, ENVS, record) == PUF_EINVAL);
    float obs[2];
    CHECK(puf_vec_observe(w.vec, record, obs) == PUF_OK && obs[1] == 1.0f);
    free_world(w);
}

/* Two steps of three environments with priorities 1, 4 and none; rows are those of the environments drawn, time by time. */
static void priorities_draw_sequences(void) {
    enum { T = 2, N = 3, EPOCHS = 400, EACH = 3 };
    const float advantage[T * N] = {1.0f, -2.0f, 9.0f, 0.0f, 0.0f, 9.0f};
    const uint8_t valid[T * N] = {1, 1, 0, 1, 1, 0};
    puf_priorities c = {.steps = T, .n = N, .epochs = EPOCHS, .minibatch = EACH * T, .memory = 1, .alpha = 2.0f, .beta = 1.0f};
    double below[N];
    float importance[T * N];
    int32_t envs[EPOCHS * N], rows[EPOCHS * T * N], count[N] = {0};
    CHECK(puf_prioritize(&c, advantage, valid, 7, 1ull << 33, below, importance, envs) == PUF_OK);
    CHECK(below[0] > 0.1999 && below[0] < 0.2001 && below[1] > 0.999 && below[2] > 0.999999);
    CHECK(importance[0] > 1.666f && importance[0] < 1.667f && importance[1] > 0.416f && importance[1] < 0.417f);
    CHECK(importance[N] == importance[0] && importance[N + 2] == importance[2]);
    for (int k = 0; k < EPOCHS * N; k++) { count[envs[k]]++; }
    CHECK(count[0] > 180 && count[0] < 300 && count[0] + count[1] == EPOCHS * N);
    c.memory = 0;
    CHECK(puf_prioritize(&c, advantage, valid, 7, 1ull << 33, below, importance, rows) == PUF_OK);
    for (int k = 0; k < EPOCHS * T * N; k++) {
        const int batch = k / c.minibatch, t = k % c.minibatch / EACH;
        CHECK(rows[k] == t * N + envs[batch * EACH + k % EACH]);
    }
    c.minibatch = 4; /* does not divide the rows */
    CHECK(puf_prioritize(&c, advantage, valid, 7, 0, below, importance, rows) == PUF_EINVAL);
    CHECK(puf_prioritize(NULL, advantage, valid, 7, 0, below, importance, rows) == PUF_EINVAL);
}

int main(int count, char **arguments) {
    (void)arguments;
    brief = count > 1;
    pool_runs_each_task_once();
    pool_shares_out_what_waits_behind_a_long_task();
    threads_change_no_bit_and_it_learns();
    actions_that_mix_choices_and_numbers();
    encoders_on_every_isa();
    priorities_draw_sequences();
    illegal_calls();
    return failures != 0;
}
