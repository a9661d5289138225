/* Pendulum-v1 of Gymnasium: swing a pendulum up and hold it there with a bounded torque.
 *
 * Observation: cos(theta), sin(theta), theta_dot (rad/s); theta = 0 is upright. Action: torque in N m, clipped to [-2, 2].
 * Reward: -(theta^2 + 0.1 theta_dot^2 + 0.001 torque^2) before the step, theta in [-pi, pi). Never terminated; truncated
 * after 200 steps. New episodes: theta uniform in [-pi, pi), theta_dot uniform in [-1, 1).
 *
 * The stored angle is wrapped to [-pi, pi) (Gymnasium lets it grow), so that its precision does not decay.
 */
#ifndef PUFFER_PENDULUM_H
#define PUFFER_PENDULUM_H

#include "puffer/env.h"

/* <cdef> */
const void *puf_env_table_pendulum(int isa);
/* </cdef> */

#endif
