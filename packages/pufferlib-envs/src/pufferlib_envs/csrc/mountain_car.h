/* MountainCar-v0 of Gymnasium (Moore 1990; Sutton and Barto, example 10.1): a car too weak for the hill must gain speed by
 * swinging back and forth.
 *
 * Observation: position (in [-1.2, 0.6]), velocity (in [-0.07, 0.07]). Actions: 0 pushes left, 1 does nothing, 2 pushes right.
 *     velocity += (action - 1) force - gravity cos(3 position), clipped;  position += velocity, clipped;
 *     at the left wall a negative velocity becomes 0.
 * Reward -1 each step. Terminated when position >= goal_position and velocity >= goal_velocity; truncated after 200 steps. New
 * episodes: position uniform in [-0.6, -0.4), velocity 0.
 */
#ifndef PUFFER_MOUNTAIN_CAR_H
#define PUFFER_MOUNTAIN_CAR_H

#include "puffer/env.h"

/* <cdef> */
typedef struct {
    float force, gravity;
    float goal_position, goal_velocity;
    int32_t max_steps;
} puf_mountain_car_config;

const void *puf_env_table_mountain_car(int isa);
/* </cdef> */

#endif
