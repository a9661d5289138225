/* Acrobot-v1 of Gymnasium (Sutton 1996): two links, a torque at the joint between them; the tip must rise above the bar.
 *
 * Observation: cos and sin of the first link's angle (0 hangs down), cos and sin of the second's (relative to the first), and
 * both angular velocities (within 4 pi and 9 pi). Actions: torque -1, 0 or +1 N m (times `torque`). The equations of motion are
 * those of Sutton and Barto's book, one Runge and Kutta step of fourth order in each step of 0.2 s; both links have the same
 * moment of inertia. Reward -1 each step, 0 when the tip is above: -cos(a) - cos(a + b) > 1, which terminates. Truncated after
 * 500 steps. New episodes: all four numbers uniform in [-0.1, 0.1).
 */
#ifndef PUFFER_ACROBOT_H
#define PUFFER_ACROBOT_H

#include "puffer/env.h"

/* <cdef> */
typedef struct {
    float link_length;      /* of the first link, m */
    float link_mass_1, link_mass_2;
    float link_center_1, link_center_2; /* where their masses are */
    float inertia;
    float gravity, torque, tau;
    int32_t max_steps;
} puf_acrobot_config;

const void *puf_env_table_acrobot(int isa);
/* </cdef> */

#endif
