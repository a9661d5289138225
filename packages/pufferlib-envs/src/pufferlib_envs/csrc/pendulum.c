#include "pendulum.h"

#include "puffer/math.h"
#include "scalar_env.h"

#define PI 3.14159265358979323846f

typedef struct {
    float theta, theta_dot;
    puf_rng rng;
} pendulum;

static const puf_pendulum_config DEFAULTS = {
    .gravity = 10.0f, .mass = 1.0f, .length = 1.0f, .max_torque = 2.0f, .max_speed = 8.0f, .tau = 0.05f, .max_steps = 200};

SCALAR_ENV(pendulum, pendulum, puf_pendulum_config)

static int describe(const void *config, puf_env_info *info) {
    const puf_pendulum_config *c = settings(config);
    info->obs_size = 3;
    info->action_kind = PUF_ACTION_CONTINUOUS;
    info->action_size = 1;
    info->max_episode_steps = c->max_steps;
    return c->gravity > 0.0f && c->mass > 0.0f && c->length > 0.0f && c->max_torque > 0.0f && c->max_speed > 0.0f &&
                   c->tau > 0.0f && c->max_steps > 0
               ? PUF_OK
               : PUF_EINVAL; /* NaN is refused too */
}

static float wrapped(float theta) {
    const float turns = puf_round(theta * (1.0f / (2.0f * PI)));
    return (theta - turns * 6.28125f) - turns * 1.9353071795864e-3f; /* 2 pi in two parts */
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
    const puf_pendulum_config *c = settings(config);
    pendulum *p = (pendulum *)state;
    const float torque = puf_clamp(*(const float *)action, -c->max_torque, c->max_torque);
    float sine, cosine;
    (void)cost;
    (void)truncated;
    puf_sincos(p->theta, &sine, &cosine);
    *reward = -((p->theta * p->theta + 0.1f * (p->theta_dot * p->theta_dot)) + 0.001f * (torque * torque));
    const float acceleration =
        3.0f * c->gravity / (2.0f * c->length) * sine + 3.0f / (c->mass * c->length * c->length) * torque;
    p->theta_dot = puf_clamp(p->theta_dot + acceleration * c->tau, -c->max_speed, c->max_speed);
    p->theta = wrapped(p->theta + p->theta_dot * c->tau);
    *terminated = 0;
    observe(config, state, obs);
}
