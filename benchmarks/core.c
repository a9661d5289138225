/* Figures of the C core alone, without Python, each the best of many repetitions; benchmarks/run.py compiles and runs it.
 * Prints one JSON object a line: name, value, unit, settings. Argument: threads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cartpole.h"
#include "puffer/puffer.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { N = 4096, STEPS = 32, REPEAT = 300 };

static int threads;
static const puf_exec *exec;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *block(size_t bytes) {
    void *mem = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (mem == NULL) { exit(2); }
    return memset(mem, 0, (bytes + 63) / 64 * 64);
}

static void report(const char *name, double value, const char *unit) {
    printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"settings\": {\"threads\": %d}}\n", name, value, unit, threads);
}

static double simulate(puf_vec *vec, const int32_t *action, const puf_planes *out) {
    double best = 1e9;
    for (int r = 0; r < REPEAT; r++) {
        const double begin = now();
        for (int t = 0; t < STEPS; t++) { puf_vec_step(vec, exec, action + t * N, out); }
        const double seconds = now() - begin;
        best = seconds < best ? seconds : best;
    }
    return (double)N * STEPS / best;
}

static void simulation(void) {
    const puf_env *table = (const puf_env *)puf_env_table_cartpole(puf_isa_best());
    const size_t bytes = puf_vec_bytes(table, NULL, N, PUF_SAME_STEP);
    puf_vec *vec;
    if (puf_vec_init(&vec, block(bytes), bytes, table, NULL, N, PUF_SAME_STEP, puf_isa_best(), 0, 0) != PUF_OK) { exit(2); }
    int32_t *action = block(4 * N * STEPS);
    for (int i = 0; i < N * STEPS; i++) {
        uint32_t a, b;
        puf_threefry(0, 0, (uint32_t)i, 0, &a, &b);
        action[i] = (int32_t)(a >> 31);
    }
    puf_planes out = {.obs = block(16 * N), .reward = block(4 * N), .cost = block(4 * N), .terminated = block(N),
                      .truncated = block(N), .valid = block(N), .final_obs = block(16 * N), .log = block(sizeof(puf_episode) * N)};
    puf_vec_reset(vec, exec, NULL, out.obs, NULL);
    report("core.sim", simulate(vec, action, &out), "steps/s");
    out.cost = NULL;
    out.valid = NULL;
    out.final_obs = NULL;
    out.log = NULL;
    report("core.sim_without_finals_and_statistics", simulate(vec, action, &out), "steps/s");
    if (threads > 1) { return; }
    void *batch = block(table->batch_bytes(NULL, N));
    int32_t *index = block(4 * N);
    for (int i = 0; i < N; i++) {
        table->init(NULL, batch, N, i, puf_rng_stream(0, (uint64_t)i));
        index[i] = i;
    }
    double step = 1e9, reset = 1e9;
    for (int r = 0; r < REPEAT; r++) {
        double begin = now();
        table->reset(NULL, batch, N, index, N, out.obs);
        double seconds = now() - begin;
        reset = seconds < reset ? seconds : reset;
        begin = now();
        for (int t = 0; t < 8; t++) {
            table->step(NULL, batch, N, 0, N, action + t * N, out.obs, out.reward, out.reward, out.terminated, out.truncated);
        }
        seconds = (now() - begin) / 8;
        step = seconds < step ? seconds : step;
    }
    report("core.sim_physics", step / N * 1e9, "ns");
    report("core.sim_reset", reset / N * 1e9, "ns");
}

static void network(void) {
    const puf_net net = {.obs_size = 4, .layers = 2, .width = {64, 64}, .action_size = 1, .action_n = {2}};
    const int64_t params = puf_net_params(&net);
    float *weights = block((size_t)params * 4), *grads = block((size_t)params * 4);
    puf_net_init(&net, 1, 0.0f, weights, block((size_t)puf_net_init_scratch(&net) * 4));
    const size_t bytes = puf_policy_bytes(&net, puf_isa_best(), threads);
    puf_policy *policy;
    if (puf_policy_init(&policy, block(bytes), bytes, &net, puf_isa_best(), threads) != PUF_OK) { exit(2); }
    puf_policy_load(policy, weights, NULL, NULL, 0.0f);
    float *obs = block(16 * N), *logits = block(8 * N), *value = block(4 * N), *plane = block(3 * 4 * N);
    int32_t *action = block(4 * N), *index = block(4 * N);
    uint8_t *valid = block(N);
    for (int i = 0; i < N; i++) {
        uint32_t a, b;
        puf_threefry(0, 0, (uint32_t)i, 1, &a, &b);
        for (int k = 0; k < 4; k++) { obs[4 * i + k] = puf_uniform(a << (5 * k), -1.0f, 1.0f); }
        action[i] = (int32_t)(b >> 31);
        plane[i] = -0.6931f;
        plane[N + i] = puf_uniform(b, -1.0f, 1.0f);
        plane[2 * N + i] = puf_uniform(a, -1.0f, 1.0f);
        valid[i] = 1;
        index[i] = i;
    }
    const puf_batch batch = {.obs = obs, .action = action, .logprob = plane, .advantage = plane + N, .target = plane + 2 * N,
                             .value = value, .valid = valid, .rows = N};
    const puf_ppo_config config = {.clip = 0.2f, .value_coef = 0.5f, .epochs = 1, .minibatch = N, .normalize_advantage = 1,
                                   .adam = {3e-4f, 0.9f, 0.999f, 1e-5f, 0.0f, 0.5f}};
    const size_t ppo_bytes = puf_ppo_bytes(policy, N, N, 1, PUF_ADAM);
    puf_ppo *ppo;
    if (puf_ppo_init(&ppo, block(ppo_bytes), ppo_bytes, policy, N, N, 1, PUF_ADAM) != PUF_OK) { exit(2); }
    double forward = 1e9, gradient = 1e9;
    for (int r = 0; r < REPEAT; r++) {
        double begin = now();
        puf_policy_forward(policy, exec, obs, NULL, N, logits, value);
        double seconds = now() - begin;
        forward = seconds < forward ? seconds : forward;
        begin = now();
        puf_ppo_gradient(ppo, exec, &config, &batch, index, N, weights, grads, NULL);
        seconds = now() - begin;
        gradient = seconds < gradient ? seconds : gradient;
    }
    report("core.forward", N / forward, "samples/s");
    report("core.forward_backward", N / gradient, "samples/s");
}

#if defined(__x86_64__)
/* The most multiply-adds a core of this machine does: twelve chains in registers. */
#define PEAK(isa, type, set, fma, lanes)                                                       \
    __attribute__((target(isa))) static double peak_##lanes(void) {                            \
        type x = set(1.0f), y = set(1e-9f);                                                    \
        __asm__ volatile("" : "+v"(x), "+v"(y)); /* nothing to fold, no two chains alike */    \
        double best = 1e9;                                                                     \
        for (int r = 0; r < REPEAT; r++) {                                                     \
            type sum[12];                                                                      \
            for (int k = 0; k < 12; k++) { __asm__ volatile("" : "=v"(sum[k]) : "0"(y)); }     \
            const double begin = now();                                                        \
            for (int i = 0; i < 20000; i++) {                                                  \
                for (int k = 0; k < 12; k++) { sum[k] = fma(sum[k], x, y); }                   \
            }                                                                                  \
            const double seconds = now() - begin;                                              \
            best = seconds < best ? seconds : best;                                            \
            for (int k = 0; k < 12; k++) { __asm__ volatile("" : : "v"(sum[k])); }             \
        }                                                                                      \
        return 20000.0 * 12 * lanes * 2 / best * 1e-9;                                         \
    }
PEAK("avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, 16)
PEAK("avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, 8)
#endif

int main(int count, char **arguments) {
    threads = count > 1 ? atoi(arguments[1]) : 1;
    const size_t bytes = puf_pool_bytes(threads);
    puf_pool *pool;
    if (bytes == 0 || puf_pool_start(&pool, block(bytes), bytes, threads) != PUF_OK) { return 2; }
    exec = puf_pool_exec(pool);
    simulation();
    network();
#if defined(__x86_64__)
    if (threads == 1 && puf_isa_best() != PUF_ISA_SERIAL) {
        report("core.peak_of_one_core", puf_isa_best() == PUF_ISA_AVX512 ? peak_16() : peak_8(), "GFLOP/s");
    }
#endif
    puf_pool_stop(pool);
    return 0;
}
