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
    POLICY_EINVAL = -1,    /* a pointer is missing */
    POLICY_ENONFINITE = -4 /* an observation is NaN or infinite: state and action are as they were */
} policy_status;

typedef struct {
$action} policy_action;

typedef struct {
$carry    float heads[POLICY_HEADS]; /* of the last step: logits of the choices, then means of the numbers */
    $scratch scratch[POLICY_SCRATCH];
} policy_state;

/* Where an episode begins. */
void policy_reset(policy_state *state);
/* obs: POLICY_OBS numbers as the environment writes them; the normaliser is inside. */
policy_status policy_step(policy_state *state, const $obs *obs, policy_action *action);

#ifdef __cplusplus
}
#endif

#endif
