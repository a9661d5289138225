/* CartPole-v1 of Gymnasium (Barto, Sutton and Anderson 1983): balance a pole on a cart by pushing left (0) or right (1).
 *
 * Observation: x (m), x_dot (m/s), theta (rad), theta_dot (rad/s). Reward 1 each step. Terminated when |x| > 2.4 or
 * |theta| > 12 degrees; truncated after 500 steps. New episodes: each number uniform in [-0.05, 0.05). Without velocities an
 * observation is x and theta alone: then one observation does not say where the pole is going, and memory helps.
 */
#ifndef PUFFER_CARTPOLE_H
#define PUFFER_CARTPOLE_H

#include "puffer/env.h"

/* <cdef> */
typedef struct { /* SI units */
    float gravity, cart_mass, pole_mass;
    float length; /* half the pole's */
    float force;  /* of a push */
    float tau;    /* seconds between states */
    float x_limit, theta_limit;
    int32_t max_steps;
    int32_t velocities; /* 1: observations have them, 0: they are hidden */
} puf_cartpole_config;

const void *puf_env_table_cartpole(int isa);
/* </cdef> */

#endif
