/* For KLEE: a step on symbolic observations, with its own checks of memory and arithmetic on every path.
 *
 *   clang -emit-llvm -c -g -O0 -Xclang -disable-O0-optnone -Isrc -I<where KLEE's headers are> verify/klee.c src/<each file>.c
 *   llvm-link *.bc -o policy.bc && klee policy.bc
 *
 * KLEE as it is released makes floats concrete where they are computed with; int8 policies are explored in full.
 */
#include <klee/klee.h>

#include "policy.h"

static policy_state state;
static policy_action action;
static $obs obs[POLICY_OBS];

int main(void) {
    klee_make_symbolic(obs, sizeof obs, "obs");
    policy_reset(&state);
    const policy_status status = policy_step(&state, obs, &action);
    klee_assert((status == POLICY_OK) || (status == POLICY_ENONFINITE));
    if (status == POLICY_OK) {
$explored    }
    return 0;
}
