/* A trained policy: $about.
 *
 * Written by `puffer export c`; do not edit. The caller owns the state (static or where it likes), one for each body that acts;
 * nothing is allocated. Calls with different states may run at once.
 */
#ifndef POLICY_H
#define POLICY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

$sizes
typedef enum {
    POLICY_OK = 0,
    POLICY_BUSY = 1,       /* no fault: policy_continue has more to do */
    POLICY_EINVAL = -1,    /* a pointer is missing, a budget is below 1, or nothing was begun */
    POLICY_ENONFINITE = -4 /* an observation is NaN or infinite: state and action are as they were */
} policy_status;

typedef struct {
$action} policy_action;

typedef struct {
$carry    float heads[POLICY_HEADS]; /* of the last step: logits of the choices, then means of the numbers */
    $scratch scratch[POLICY_SCRATCH];
    int32_t at; /* how far a step in slices has come; 0: none is on its way */
} policy_state;

/* Where an episode begins. */
void policy_reset(policy_state *state);
/* obs: POLICY_OBS numbers as the environment writes them; the normaliser is inside. */
policy_status policy_step(policy_state *state, const $obs *obs, policy_action *action);

/* The same step in slices, for loops that must not wait: POLICY_OK, then policy_continue until it is no longer POLICY_BUSY. The
 * observation may change from then on; another policy_begin drops a step on its way, and the memory is as it was. */
policy_status policy_begin(policy_state *state, const $obs *obs);
/* Works until the budget is spent: multiplications, of which an activation counts for POLICY_TANH. A call takes at most the
 * larger of the budget and POLICY_UNIT, a whole step POLICY_WORK. The action is written, and POLICY_OK returned, by the last
 * call; action and memory are those of policy_step to the bit, whatever the budgets. */
policy_status policy_continue(policy_state *state, int32_t budget, policy_action *action);

#ifdef __cplusplus
}
#endif

#endif
