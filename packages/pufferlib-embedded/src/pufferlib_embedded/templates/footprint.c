/* The least program with the policy, and (POLICY_LEFT_OUT) the same without it: the difference is what the policy takes. */
#ifndef POLICY_LEFT_OUT
#include "policy.h"

static policy_state state;
static policy_action action;
static $obs row[POLICY_OBS];
#endif

int main(void) {
#ifndef POLICY_LEFT_OUT
    policy_reset(&state);
    return (int)policy_step(&state, row, &action);
#else
    return 0;
#endif
}
