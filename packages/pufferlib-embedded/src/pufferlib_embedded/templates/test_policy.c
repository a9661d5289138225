/* Repeats the golden vectors; the exit status is 0 if every number is $within. */
#include "golden.h"
#include "policy.h"
#include "port.h"

#define TOLERANCE $tolerance

static policy_state state;
static policy_action action;
static policy_status status;
static const $obs *row;

static void step(void) { status = policy_step(&state, row, &action); }

static void report(const char *name, uint32_t value) {
    char digits[12];
    int32_t at = 11;
    digits[at] = '\0';
    do {
        at--;
        digits[at] = (char)('0' + (char)(value % 10u));
        value /= 10u;
    } while (value > 0u);
    port_text(name);
    port_text(" ");
    port_text(&digits[at]);
    port_text("\n");
}

static float size_of(float x) { return x < 0.0f ? -x : x; }

/* How far x is from what is wanted, relative to scale; 1 for NaN. */
static float away(float x, float wanted, float scale) {
    const float difference = size_of(x - wanted) / scale;
    return difference < 1.0f ? difference : 1.0f;
}

static float worse(float a, float b) { return a > b ? a : b; }

/* The largest difference of a row; a choice differs by what its logit lacks to the wanted one's. */
static float compare(int32_t i) {
    const float *heads = &golden_heads[i * POLICY_HEADS];
    float scale = 1.0f, worst = (status == POLICY_OK) ? 0.0f : 1.0f;
    for (int32_t k = 0; k < POLICY_HEADS; k++) { scale = worse(scale, size_of(heads[k])); }
    for (int32_t k = 0; k < POLICY_HEADS; k++) { worst = worse(worst, away(state.heads[k], heads[k], scale)); }
$compared    return worst;
}

int main(void) {
    uint32_t failed = 0, instructions = 0, stack = 0;
    float worst = 0.0f;
    for (int32_t i = 0; i < golden_rows; i++) {
        if (golden_begins[i] != 0u) { policy_reset(&state); }
        row = &golden_obs[i * POLICY_OBS];
        if (i == 0) {
            port_measure(step, &instructions, &stack);
        } else {
            step();
        }
        const float difference = compare(i);
        failed += (difference <= TOLERANCE) ? 0u : 1u;
        worst = worse(worst, difference);
    }
    report("rows", (uint32_t)golden_rows);
    report("failed", failed);
    report("worst_1e-9", (uint32_t)(worst * 1e9f));
    report("instructions", instructions);
    report("stack", stack);
    return (failed == 0u) ? 0 : 1;
}
