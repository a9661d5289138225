/* A main loop that must not wait: between the slices of a policy's step it has time for everything else. */
#include "policy.h"

enum {
    STEPS = 20,
    BUDGET = POLICY_WORK / 8 + POLICY_UNIT /* of a slice: what the loop can spare between two turns of its other work */
};

static policy_state state;
static $obs sensor[POLICY_OBS];
static int32_t turns, acted;

/* Stands for a driver. */
static void read_sensor(void) {
    for (int32_t i = 0; i < POLICY_OBS; i++) { sensor[i] = ($obs)((acted + i) % 3); }
}

/* Stands for a motor. */
static void act(const policy_action *action) {
    (void)action;
    acted++;
}

/* Stands for a watchdog, a bus, a lamp: whatever must have its turn while the policy works. */
static void other_work(void) { turns++; }

int main(void) {
    policy_action action;
    policy_status status = POLICY_OK; /* nothing on its way */
    policy_reset(&state);
    while (acted < STEPS) {
        other_work();
        if (status != POLICY_BUSY) {
            read_sensor(); /* which may change again once policy_begin has returned */
            status = policy_begin(&state, sensor);
            if (status != POLICY_OK) { return 1; }
        }
        status = policy_continue(&state, BUDGET, &action);
        if (status == POLICY_OK) { act(&action); }
        if (status < POLICY_OK) { return 1; }
    }
    return (turns >= STEPS * (POLICY_WORK / BUDGET)) ? 0 : 1; /* no call takes more than its budget */
}
