/* Written by `puffer export c`; do not edit. */
#include "policy.h"

#include "puffer/$header.h"

$constants
void policy_reset(policy_state *state) {
    state->at = 0;
$reset    for (int32_t i = 0; i < POLICY_HEADS; i++) { state->heads[i] = 0.0f; }
}

policy_status policy_begin(policy_state *state, const $obs *obs) {
    return (policy_status)(state != NULL ? ${lean}_begin(&LEAN, obs, state->scratch, &state->at) : PUF_EINVAL);
}

policy_status policy_continue(policy_state *state, int32_t budget, policy_action *action) {
    int status = PUF_EINVAL;
    if ((state != NULL) && (action != NULL)) {
        status = ${lean}_continue(&LEAN, budget, &state->at, $carry, state->scratch, state->heads);
        if (status == PUF_OK) { status = puf_lean_action($action, state->heads, action); }
    }
    return (policy_status)status;
}

policy_status policy_step(policy_state *state, const $obs *obs, policy_action *action) {
    policy_status status = (action != NULL) ? policy_begin(state, obs) : POLICY_EINVAL;
    if (status == POLICY_OK) {
        do { status = policy_continue(state, INT32_MAX, action); } while (status == POLICY_BUSY);
    }
    return status;
}
