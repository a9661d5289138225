#include "pendulum.h"

#include "puffer/math.h"

#define PI 3.14159265358979323846f
#define GRAVITY 10.0f
#define MASS 1.0f
#define LENGTH 1.0f
#define DT 0.05f
#define MAX_SPEED 8.0f
#define MAX_TORQUE 2.0f

enum { PENDULUM_STEPS = 200 };

typedef struct {
    float theta, theta_dot;
    puf_rng rng;
} pendulum;

static float wrapped(float theta) {
    const float turns = puf_round(theta * (1.0f / (2.0f * PI)));
    return (theta - turns * 6.28125f) - turns * 1.9353071795864e-3f; /* 2 pi in two parts */
}

static int describe(const void *config, puf_env_info *info) {
    (void)config;
    info->obs_size = 3;
    info->action_kind = PUF_ACTION_CONTINUOUS;
    info->action_size = 1;
    info->max_episode_steps = PENDULUM_STEPS;
    return PUF_OK;
}

static size_t state_bytes(const void *config) {
    (void)config;
    return sizeof(pendulum);
}

static void init_one(const void *config, void *state, puf_rng stream) {
    (void)config;
    ((pendulum *)state)->rng = stream;
}

static void observe(const void *config, const void *state, float *obs) {
    const pendulum *p = (const pendulum *)state;
    (void)config;
    puf_sincos(p->theta, &obs[1], &obs[0]);
    obs[2] = p->theta_dot;
}

static void reset_one(const void *config, void *state, float *obs) {
    pendulum *p = (pendulum *)state;
    uint32_t a, b;
    puf_rng_next(&p->rng, &a, &b);
    p->theta = puf_uniform(a, -PI, PI);
    p->theta_dot = puf_uniform(b, -1.0f, 1.0f);
    observe(config, state, obs);
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    pendulum *p = (pendulum *)state;
    const float torque = puf_clamp(*(const float *)action, -MAX_TORQUE, MAX_TORQUE);
    float sine, cosine;
    (void)cost;
    (void)truncated;
    puf_sincos(p->theta, &sine, &cosine);
    *reward = -((p->theta * p->theta + 0.1f * (p->theta_dot * p->theta_dot)) + 0.001f * (torque * torque));
    const float acceleration = 3.0f * GRAVITY / (2.0f * LENGTH) * sine + 3.0f / (MASS * LENGTH * LENGTH) * torque;
    p->theta_dot = puf_clamp(p->theta_dot + acceleration * DT, -MAX_SPEED, MAX_SPEED);
    p->theta = wrapped(p->theta + p->theta_dot * DT);
    *terminated = 0;
    observe(config, state, obs);
}

static const puf_env TABLE = {
    .abi_version = PUF_ENV_ABI,
    .struct_size = sizeof(puf_env),
    .name = "pendulum",
    .describe = describe,
    .state_bytes = state_bytes,
    .init_one = init_one,
    .reset_one = reset_one,
    .step_one = step_one,
    .observe = observe,
};

const void *puf_env_table_pendulum(int isa) {
    (void)isa;
    return &TABLE;
}
