/* Pendulum-v1 of Gymnasium: swing a pendulum up and hold it there with a bounded torque.
 *
 * Observation: cos(theta), sin(theta), theta_dot (rad/s); theta = 0 is upright. Action: torque in N m, clipped to
 * [-max_torque, max_torque]. Reward: -(theta^2 + 0.1 theta_dot^2 + 0.001 torque^2) before the step, theta in [-pi, pi). Never
 * terminated; truncated after 200 steps. New episodes: theta uniform in [-pi, pi), theta_dot uniform in [-1, 1).
 *
 * The stored angle is wrapped to [-pi, pi) (Gymnasium lets it grow), so that its precision does not decay.
 */
#ifndef PUFFER_PENDULUM_H
#define PUFFER_PENDULUM_H

#include "puffer/env.h"

/* <cdef> */
typedef struct {
    float gravity, mass, length; /* m/s^2, kg, m */
    float max_torque, max_speed;  /* N m, rad/s */
    float tau;                    /* seconds between states */
    int32_t max_steps;
} puf_pendulum_config;

const void *puf_env_table_pendulum(int isa);
/* </cdef> */

#endif
