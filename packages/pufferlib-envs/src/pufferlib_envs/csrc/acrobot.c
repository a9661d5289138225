#include "acrobot.h"

#include "puffer/math.h"
#include "scalar_env.h"

#define PI 3.14159265358979323846f
#define MAX_SPEED_1 (4.0f * PI)
#define MAX_SPEED_2 (9.0f * PI)

typedef struct {
    float q[4]; /* angle of the first link, of the second relative to it, and their velocities */
    puf_rng rng;
} acrobot;

static const puf_acrobot_config DEFAULTS = {
    .link_length = 1.0f, .link_mass_1 = 1.0f, .link_mass_2 = 1.0f, .link_center_1 = 0.5f, .link_center_2 = 0.5f,
    .inertia = 1.0f, .gravity = 9.8f, .torque = 1.0f, .tau = 0.2f, .max_steps = 500};

SCALAR_ENV(acrobot, acrobot, puf_acrobot_config)

static int describe(const void *config, puf_env_info *info) {
    const puf_acrobot_config *c = settings(config);
    info->obs_size = 6;
    info->action_size = 1;
    info->action_n[0] = 3;
    info->max_episode_steps = c->max_steps;
    return c->link_length > 0.0f && c->link_mass_1 > 0.0f && c->link_mass_2 > 0.0f && c->link_center_1 > 0.0f &&
                   c->link_center_2 > 0.0f && c->inertia > 0.0f && c->gravity > 0.0f && c->torque > 0.0f && c->tau > 0.0f &&
                   c->max_steps > 0
               ? PUF_OK
               : PUF_EINVAL;
}

/* Time derivative of q under a torque. */
static void derivative(const puf_acrobot_config *c, const float *q, float torque, float *rate) {
    const float m1 = c->link_mass_1, m2 = c->link_mass_2, l1 = c->link_length, lc1 = c->link_center_1, lc2 = c->link_center_2;
    const float g = c->gravity, i = c->inertia, w1 = q[2], w2 = q[3];
    float sine, cosine, sine_1, cosine_1, sine_12, cosine_12;
    puf_sincos(q[1], &sine, &cosine);
    puf_sincos(q[0], &sine_1, &cosine_1);
    puf_sincos(q[0] + q[1], &sine_12, &cosine_12);
    const float d1 = m1 * (lc1 * lc1) + m2 * (l1 * l1 + lc2 * lc2 + 2.0f * l1 * lc2 * cosine) + i + i;
    const float d2 = m2 * (lc2 * lc2 + l1 * lc2 * cosine) + i;
    /* cos(x - pi / 2) is sin(x) */
    const float phi2 = m2 * lc2 * g * sine_12;
    const float phi1 = -m2 * l1 * lc2 * (w2 * w2) * sine - 2.0f * m2 * l1 * lc2 * w2 * w1 * sine +
                       (m1 * lc1 + m2 * l1) * g * sine_1 + phi2;
    rate[0] = w1;
    rate[1] = w2;
    /* m2 lc2^2 + i - d2^2 / d1, as a sum of positive terms over d1: the difference would cancel to 0 for a long second link. */
    const float swing = m2 * l1 * lc2 * sine;
    const float inertia = ((m1 * (lc1 * lc1) + i) * (m2 * (lc2 * lc2) + i) + m2 * (l1 * l1) * i + swing * swing) / d1;
    rate[3] = (torque + d2 / d1 * phi1 - m2 * l1 * lc2 * (w1 * w1) * sine - phi2) / inertia;
    rate[2] = -(d2 * rate[3] + phi1) / d1;
}

static float wrapped(float angle) {
    const float turns = puf_round(angle * (1.0f / (2.0f * PI)));
    return (angle - turns * 6.28125f) - turns * 1.9353071795864e-3f; /* 2 pi in two parts */
}

static void observe(const void *config, const void *state, float *obs) {
    const acrobot *a = (const acrobot *)state;
    (void)config;
    puf_sincos(a->q[0], &obs[1], &obs[0]);
    puf_sincos(a->q[1], &obs[3], &obs[2]);
    obs[4] = a->q[2];
    obs[5] = a->q[3];
}

static void reset_one(const void *config, void *state, float *obs) {
    acrobot *a = (acrobot *)state;
    uint32_t word[4];
    puf_rng_next(&a->rng, &word[0], &word[1]);
    puf_rng_next(&a->rng, &word[2], &word[3]);
    for (int k = 0; k < 4; k++) { a->q[k] = puf_uniform(word[k], -0.1f, 0.1f); }
    observe(config, state, obs);
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    const puf_acrobot_config *c = settings(config);
    acrobot *a = (acrobot *)state;
    const float torque = (float)(*(const int32_t *)action - 1) * c->torque, h = c->tau;
    float k1[4], k2[4], k3[4], k4[4], at[4];
    (void)cost;
    (void)truncated;
    derivative(c, a->q, torque, k1);
    for (int k = 0; k < 4; k++) { at[k] = a->q[k] + 0.5f * h * k1[k]; }
    derivative(c, at, torque, k2);
    for (int k = 0; k < 4; k++) { at[k] = a->q[k] + 0.5f * h * k2[k]; }
    derivative(c, at, torque, k3);
    for (int k = 0; k < 4; k++) { at[k] = a->q[k] + h * k3[k]; }
    derivative(c, at, torque, k4);
    for (int k = 0; k < 4; k++) { a->q[k] = a->q[k] + h * (1.0f / 6.0f) * (k1[k] + 2.0f * k2[k] + 2.0f * k3[k] + k4[k]); }
    a->q[0] = wrapped(a->q[0]);
    a->q[1] = wrapped(a->q[1]);
    a->q[2] = puf_clamp(a->q[2], -MAX_SPEED_1, MAX_SPEED_1);
    a->q[3] = puf_clamp(a->q[3], -MAX_SPEED_2, MAX_SPEED_2);
    observe(config, state, obs);
    /* cos(a + b) from what the observation holds */
    *terminated = -obs[0] - (obs[0] * obs[2] - obs[1] * obs[3]) > 1.0f;
    *reward = *terminated ? 0.0f : -1.0f;
}
