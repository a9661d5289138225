/* Written by `puffer export c`; do not edit. */
#include "policy.h"

#include "puffer/$header.h"

$constants
void policy_reset(policy_state *state) {
$reset    for (int32_t i = 0; i < POLICY_HEADS; i++) { state->heads[i] = 0.0f; }
}

policy_status policy_step(policy_state *state, const $obs *obs, policy_action *action) {
    int status = PUF_EINVAL;
    if ((state != NULL) && (action != NULL)) {
        status = ${lean}_heads(&LEAN, obs, $carry, state->scratch, state->heads);
        if (status == PUF_OK) { status = puf_lean_action($action, state->heads, action); }
    }
    return (policy_status)status;
}
