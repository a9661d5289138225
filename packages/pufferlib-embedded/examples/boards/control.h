/* Acting at a steady rate, in slices: the part of a firmware that knows no vendor.
 *
 * The loop of the firmware calls control_begin() when a period starts, and control_work() whenever it has time. A policy that is
 * not through when the next period starts is dropped, counted, and begins again with the newer observation.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include "policy.h"

enum { CONTROL_BUDGET = POLICY_WORK / 16 + POLICY_UNIT }; /* of a slice; see policy_continue */

typedef struct {
    policy_state state;
    policy_action action;
    uint32_t missed; /* periods that were too short */
    uint32_t faults; /* observations that were not finite: the last action stays */
    int busy;
} control;

void control_init(control *c);
/* A period begins. obs: POLICY_OBS numbers, which may change once this returns. */
void control_begin(control *c, const float *obs);
/* Does one slice if there is something to do; returns 1 if there is a new action. */
int control_work(control *c);

#endif
