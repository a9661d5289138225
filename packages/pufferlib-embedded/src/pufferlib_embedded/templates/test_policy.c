/* Repeats the golden vectors, every second row in slices of a budget of its own; the exit status is 0 if every number is
 * $within. */
#include "golden.h"
#include "policy.h"
#include "report.h"

#define TOLERANCE $tolerance
/* Budget of the slices that are measured: a sixteenth of a step, or its dearest unit. */
#define SLICE (POLICY_WORK / 16 > POLICY_UNIT ? POLICY_WORK / 16 : POLICY_UNIT)

static policy_state state;
static policy_action action;
static policy_status status;
static const $obs *row;

static int32_t budget;

static void step(void) { status = policy_step(&state, row, &action); }

static void begin(void) { status = policy_begin(&state, row); }

static void slice(void) { status = policy_continue(&state, budget, &action); }

static void step_in_slices(void) {
    begin();
    if (status == POLICY_OK) {
        do { slice(); } while (status == POLICY_BUSY);
    }
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

/* What the first step takes, and its slices. */
static void measure(void) {
    uint32_t most = 0, slices = 0;
    row = golden_obs;
    policy_reset(&state);
    report("stack", port_stack(step));
    policy_reset(&state);
    report("instructions", port_instructions(step));
    policy_reset(&state);
    report("begin_instructions", port_instructions(begin));
    budget = SLICE;
    do {
        const uint32_t taken = port_instructions(slice);
        most = taken > most ? taken : most;
        slices++;
    } while (status == POLICY_BUSY);
    report("slices", slices);
    report("slice_budget", SLICE);
    report("slice_instructions", most);
}

int main(void) {
    uint32_t failed = 0;
    float worst = 0.0f;
    measure();
    for (int32_t i = 0; i < golden_rows; i++) {
        if (golden_begins[i] != 0u) { policy_reset(&state); }
        row = &golden_obs[i * POLICY_OBS];
        budget = 1 + i * 37 % POLICY_WORK;
        if (i % 2 == 0) {
            step();
        } else {
            step_in_slices();
        }
        const float difference = compare(i);
        failed += (difference <= TOLERANCE) ? 0u : 1u;
        worst = worse(worst, difference);
    }
    report("rows", (uint32_t)golden_rows);
    report("failed", failed);
    report("worst_1e-9", (uint32_t)(worst * 1e9f));
    return (failed == 0u) ? 0 : 1;
}
