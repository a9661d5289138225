#include "mountain_car_continuous.h"

#include "mountain.h"
#include "scalar_env.h"

static const puf_mountain_car_continuous_config DEFAULTS = {
    .power = 0.0015f, .gravity = 0.0025f, .goal_position = 0.45f, .goal_velocity = 0.0f, .max_steps = 999};

SCALAR_ENV(mountain_car_continuous, mountain_car, puf_mountain_car_continuous_config)

static int describe(const void *config, puf_env_info *info) {
    const puf_mountain_car_continuous_config *c = settings(config);
    info->obs_size = 2;
    info->action_kind = PUF_ACTION_CONTINUOUS;
    info->action_size = 1;
    info->max_episode_steps = c->max_steps;
    return c->power > 0.0f && c->gravity > 0.0f && mountain_goal_legal(c->goal_position, c->goal_velocity) && c->max_steps > 0
               ? PUF_OK
               : PUF_EINVAL;
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    const puf_mountain_car_continuous_config *c = settings(config);
    mountain_car *car = (mountain_car *)state;
    const float given = *(const float *)action, push = puf_clamp(given, -1.0f, 1.0f) * c->power;
    (void)cost;
    (void)truncated;
    mountain_move(car, push, c->gravity);
    *terminated = car->position >= c->goal_position && car->velocity >= c->goal_velocity;
    *reward = (*terminated ? 100.0f : 0.0f) - 0.1f * (given * given);
    observe(config, state, obs);
}
