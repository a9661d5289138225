/* What portability.py runs outside CPython: numbers of the core, written into one buffer. Freestanding. */
#include "cartpole.h"
#include "puffer/puffer.h"

enum { ENVS = 8, STEPS = 1000, T = 16, N = 12, POINTS = 1000 };

static PUF_ALIGNED(64) unsigned char memory[1 << 16];
static float result[64 * 1024];

#if defined(__wasm__)
#define EXPORT(name) __attribute__((export_name(#name)))
#else
#define EXPORT(name) __attribute__((used))
#endif

EXPORT(result_at) float *result_at(void) { return result; }

/* Fills the buffer; returns how many floats, or a negative status. */
EXPORT(probe) int32_t probe(void) {
    static const char *const functions[] = {"sqrt", "sin", "cos", "exp", "log", "tanh"};
    float *to = result;
    if (puf_rng_fill(7, 3, 5, (uint32_t *)(void *)to, 500) != PUF_OK) { return -1; }
    to += 1000;
    for (int32_t f = 0; f < 6; f++) {
        float x[POINTS];
        for (int32_t i = 0; i < POINTS; i++) {
            x[i] = f == 0 || f == 4 ? 0.001f + 0.37f * (float)i : -20.0f + 0.0401f * (float)i;
        }
        if (puf_math_map(functions[f], x, to, POINTS) != PUF_OK) { return -2; }
        to += POINTS;
    }
    float reward[T * N], value[T * N], next_value[T * N];
    uint8_t terminated[T * N], truncated[T * N];
    for (int32_t i = 0; i < T * N; i++) {
        reward[i] = 0.01f * (float)(i % 37);
        value[i] = 0.02f * (float)(i % 23);
        next_value[i] = 0.03f * (float)(i % 19);
        terminated[i] = i % 17 == 0;
        truncated[i] = i % 13 == 0;
    }
    if (puf_gae(PUF_ISA_SERIAL, NULL, to, reward, value, next_value, terminated, truncated, T, N, 0.97f, 0.9f) != PUF_OK) {
        return -3;
    }
    to += T * N;
    const void *env = puf_env_table_cartpole(PUF_ISA_SERIAL);
    puf_vec *vec;
    float obs[ENVS * 4], rewards[ENVS];
    uint8_t over[ENVS], cut[ENVS];
    const puf_planes out = {.obs = obs, .reward = rewards, .terminated = over, .truncated = cut};
    const size_t bytes = puf_vec_bytes(env, NULL, ENVS, PUF_SAME_STEP);
    if (bytes == 0 || bytes > sizeof memory) { return -4; }
    if (puf_vec_init(&vec, memory, bytes, env, NULL, ENVS, PUF_SAME_STEP, PUF_ISA_SERIAL, 11, 0) != PUF_OK) { return -5; }
    puf_vec_reset(vec, NULL, NULL, obs, NULL);
    for (int32_t t = 0; t < STEPS; t++) {
        int32_t action[ENVS];
        for (int32_t i = 0; i < ENVS; i++) { action[i] = (t * 7 + i * 3 + t / 5) % 2; }
        if (puf_vec_step(vec, NULL, action, &out) < 0) { return -6; }
        for (int32_t i = 0; i < ENVS * 4; i++) { *to++ = obs[i]; }
    }
    return (int32_t)(to - result);
}

#if !defined(__wasm__)
void _start(void) {
    (void)probe();
    for (;;) {}
}
#endif
