/* MountainCarContinuous-v0 of Gymnasium: the car of mountain_car with a force to choose.
 *
 * Observation: position (in [-1.2, 0.6]), velocity (in [-0.07, 0.07]). Action: force, clipped to [-1, 1] where it acts.
 *     velocity += power force - gravity cos(3 position), clipped;  position += velocity, clipped;
 *     at the left wall a negative velocity becomes 0.
 * Reward -0.1 action^2 (of the action as given, not clipped), and 100 at the goal. Terminated when position >= goal_position and
 * velocity >= goal_velocity; truncated after 999 steps. New episodes: position uniform in [-0.6, -0.4), velocity 0.
 */
#ifndef PUFFER_MOUNTAIN_CAR_CONTINUOUS_H
#define PUFFER_MOUNTAIN_CAR_CONTINUOUS_H

#include "puffer/env.h"

/* <cdef> */
typedef struct {
    float power, gravity;
    float goal_position, goal_velocity;
    int32_t max_steps;
} puf_mountain_car_continuous_config;

const void *puf_env_table_mountain_car_continuous(int isa);
/* </cdef> */

#endif
