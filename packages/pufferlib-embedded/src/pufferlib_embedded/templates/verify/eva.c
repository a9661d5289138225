/* For Frama-C's EVA: whatever is observed within bounds, a step has no undefined behaviour, reads and writes arrays inside, overflows
 * no integer, and gives finite numbers and legal actions.
 *
 *   frama-c -machdep gcc_x86_64 -eva -eva-precision 3 -eva-use-spec puf_tanh,puf_finite \
 *       -cpp-extra-args="-Isrc -include verify/contracts.h" verify/eva.c src/*.c
 *
 * It holds if EVA reports 0 alarms and every assertion is valid. A policy with a memory is followed over the first steps of an
 * episode. Observations that no normaliser clips are taken from [-VERIFY_OBS, VERIFY_OBS].
 */
#include "__fc_builtin.h"
#include "policy.h"

#ifndef VERIFY_OBS
#define VERIFY_OBS 10.0f
#endif
#define VERIFY_STEPS (POLICY_CARRY > 0 ? 3 : 1)

static policy_state state;
static policy_action action;
static $obs obs[POLICY_OBS];

int main(void) {
    policy_reset(&state);
    for (int32_t step = 0; step < VERIFY_STEPS; step++) {
        for (int32_t i = 0; i < POLICY_OBS; i++) { obs[i] = $any; }
        const policy_status status = policy_step(&state, obs, &action);
        /*@ assert status == POLICY_OK; */
$asserted    }
    return 0;
}
