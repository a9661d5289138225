#include "control.h"

void control_init(control *c) {
    policy_reset(&c->state);
    c->missed = 0;
    c->faults = 0;
    c->busy = 0;
}

void control_begin(control *c, const float *obs) {
    c->missed += c->busy ? 1u : 0u;
    c->busy = policy_begin(&c->state, obs) == POLICY_OK;
    c->faults += c->busy ? 0u : 1u;
}

int control_work(control *c) {
    if (!c->busy) { return 0; }
    const policy_status status = policy_continue(&c->state, CONTROL_BUDGET, &c->action);
    c->busy = status == POLICY_BUSY;
    return status == POLICY_OK;
}
