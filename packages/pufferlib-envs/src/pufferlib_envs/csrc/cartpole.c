#include "cartpole.h"

#include "puffer/cpu.h"
#include "puffer/math.h"

#define SMALL_ANGLE 0.78f /* below pi/4 */

enum { CARTPOLE_BLOCK = 16 };

static const puf_cartpole_config DEFAULTS = {
    .gravity = 9.8f,
    .cart_mass = 1.0f,
    .pole_mass = 0.1f,
    .length = 0.5f,
    .force = 10.0f,
    .tau = 0.02f,
    .x_limit = 2.4f,
    .theta_limit = 0.20943951023931953f, /* 12 degrees */
    .max_steps = 500,
    .velocities = 1,
};

PUF_INLINE const puf_cartpole_config *settings(const void *config) {
    return config != NULL ? (const puf_cartpole_config *)config : &DEFAULTS;
}

/* The canonical state. */
typedef struct {
    float x, x_dot, theta, theta_dot;
    puf_rng rng;
} cartpole_state;

/* The live batch: one plane for each number, padded to whole blocks. */
typedef struct {
    float *x, *x_dot, *theta, *theta_dot;
    puf_rng *rng;
} cartpole_batch;

PUF_INLINE size_t padded(int32_t n) { return ((size_t)n + CARTPOLE_BLOCK - 1) / CARTPOLE_BLOCK * CARTPOLE_BLOCK; }

PUF_INLINE cartpole_batch cartpole_batch_at(const void *memory, int32_t n) {
    const size_t plane = padded(n);
    float *next = (float *)(uintptr_t)memory;
    const cartpole_batch b = {next, next + plane, next + 2 * plane, next + 3 * plane, (puf_rng *)(void *)(next + 4 * plane)};
    return b;
}

static int cartpole_describe(const void *config, puf_env_info *info) {
    const puf_cartpole_config *c = settings(config);
    /* Written so that NaN is refused too. */
    if (!(c->gravity > 0.0f && c->cart_mass > 0.0f && c->pole_mass > 0.0f && c->length > 0.0f && c->force > 0.0f &&
          c->tau > 0.0f && c->x_limit > 0.0f && c->theta_limit > 0.0f && c->max_steps > 0 && (c->velocities == 0 || c->velocities == 1))) {
        return PUF_EINVAL;
    }
    info->obs_size = c->velocities ? 4 : 2;
    info->action_kind = PUF_ACTION_DISCRETE;
    info->action_size = 1;
    info->action_n[0] = 2;
    info->max_episode_steps = c->max_steps;
    return PUF_OK;
}

static size_t cartpole_state_bytes(const void *config) {
    (void)config;
    return sizeof(cartpole_state);
}

static size_t cartpole_batch_bytes(const void *config, int32_t n) {
    (void)config;
    return padded(n) * (4 * sizeof(float) + sizeof(puf_rng));
}

static void cartpole_init(const void *config, void *memory, int32_t n, int32_t i, puf_rng stream) {
    (void)config;
    cartpole_batch_at(memory, n).rng[i] = stream;
}

static void cartpole_save_one(const void *config, const void *memory, int32_t n, int32_t i, void *state) {
    const cartpole_batch b = cartpole_batch_at(memory, n);
    const cartpole_state s = {b.x[i], b.x_dot[i], b.theta[i], b.theta_dot[i], b.rng[i]};
    (void)config;
    puf_copy(state, &s, sizeof s);
}

static void cartpole_load_one(const void *config, void *memory, int32_t n, int32_t i, const void *state) {
    const cartpole_batch b = cartpole_batch_at(memory, n);
    cartpole_state s;
    (void)config;
    puf_copy(&s, state, sizeof s);
    b.x[i] = s.x;
    b.x_dot[i] = s.x_dot;
    b.theta[i] = s.theta;
    b.theta_dot[i] = s.theta_dot;
    b.rng[i] = s.rng;
}

/* What is seen of x, x_dot, theta, theta_dot. */
PUF_INLINE void see(const puf_cartpole_config *c, const float *numbers, float *obs) {
    if (c->velocities) {
        puf_copy(obs, numbers, 4 * sizeof(float));
    } else {
        obs[0] = numbers[0];
        obs[1] = numbers[2];
    }
}

static void cartpole_observe(const void *config, const void *state, float *obs) {
    see(settings(config), (const float *)state, obs); /* the state begins with its numbers */
}

#define FN(name) cartpole_##name##_serial
#include "cartpole_step.inl"
#undef FN
#if PUF_X86
#include "puffer/isa_begin_avx2.h"
#define FN(name) cartpole_##name##_avx2
#include "cartpole_step.inl"
#undef FN
#include "puffer/isa_end.h"
#include "puffer/isa_begin_avx512.h"
#define FN(name) cartpole_##name##_avx512
#include "cartpole_step.inl"
#undef FN
#include "puffer/isa_end.h"
#endif

const void *puf_env_table_cartpole(int isa) {
#if PUF_X86
    if (isa == PUF_ISA_AVX512) { return &cartpole_table_avx512; }
    if (isa == PUF_ISA_AVX2) { return &cartpole_table_avx2; }
#endif
    (void)isa;
    return &cartpole_table_serial;
}
