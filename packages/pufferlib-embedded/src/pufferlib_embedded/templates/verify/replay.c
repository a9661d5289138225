/* Runs the policy on observations: of each the status, then heads, choices and numbers as their bits. */
#include <string.h>

#include "policy.h"
#include "report.h"

$observations
static policy_state state;
static policy_action action;

static void words(const char *name, const void *from, size_t bytes) {
    uint32_t word;
    for (size_t at = 0; at < bytes; at += sizeof word) {
        memcpy(&word, (const char *)from + at, sizeof word);
        report(name, word);
    }
}

int main(void) {
    for (int32_t row = 0; row < $rows; row++) {
        policy_reset(&state);
        report("status", (uint32_t)policy_step(&state, &OBS[row * POLICY_OBS], &action));
        words("head", state.heads, sizeof state.heads);
        words("action", &action, sizeof action);
    }
    return 0;
}
