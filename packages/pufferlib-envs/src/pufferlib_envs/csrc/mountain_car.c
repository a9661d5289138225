#include "mountain_car.h"

#include "mountain.h"
#include "scalar_env.h"

static const puf_mountain_car_config DEFAULTS = {
    .force = 0.001f, .gravity = 0.0025f, .goal_position = 0.5f, .goal_velocity = 0.0f, .max_steps = 200};

SCALAR_ENV(mountain_car, mountain_car, puf_mountain_car_config)

static int describe(const void *config, puf_env_info *info) {
    const puf_mountain_car_config *c = settings(config);
    info->obs_size = 2;
    info->action_size = 1;
    info->action_n[0] = 3;
    info->max_episode_steps = c->max_steps;
    return c->force > 0.0f && c->gravity > 0.0f && mountain_goal_legal(c->goal_position, c->goal_velocity) && c->max_steps > 0
               ? PUF_OK
               : PUF_EINVAL;
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    const puf_mountain_car_config *c = settings(config);
    mountain_car *car = (mountain_car *)state;
    const float push = (float)(*(const int32_t *)action - 1) * c->force;
    (void)cost;
    (void)truncated;
    mountain_move(car, push, c->gravity);
    *terminated = car->position >= c->goal_position && car->velocity >= c->goal_velocity;
    *reward = -1.0f;
    observe(config, state, obs);
}
