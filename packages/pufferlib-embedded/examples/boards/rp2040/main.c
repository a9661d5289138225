/* Raspberry Pi Pico: a policy fifty times a second, the rest of the time for everything else. The lamp shows its first choice. */
#include <stdio.h>

#include "control.h"
#include "pico/stdlib.h"

enum { PERIOD_US = 20000, REPORT_EVERY = 50 };

static control body;
static float obs[POLICY_OBS];

/* Put your sensors here: POLICY_OBS numbers, in the units of the environment. */
static void read_sensors(void) {
    for (int i = 0; i < POLICY_OBS; i++) { obs[i] = 0.0f; }
}

/* Put your motors here. */
static void act(const policy_action *action) {
#if POLICY_CHOICES > 0
    gpio_put(PICO_DEFAULT_LED_PIN, action->choice[0] != 0);
#else
    gpio_put(PICO_DEFAULT_LED_PIN, action->number[0] > 0.0f);
#endif
}

int main(void) {
    stdio_init_all();
    gpio_init(PICO_DEFAULT_LED_PIN);
    gpio_set_dir(PICO_DEFAULT_LED_PIN, GPIO_OUT);
    control_init(&body);
    uint64_t due = time_us_64(), began = due, longest = 0;
    uint32_t acted = 0;
    for (;;) {
        if (time_us_64() >= due) {
            began = due;
            due += PERIOD_US;
            read_sensors();
            control_begin(&body, obs);
        }
        const uint64_t before = time_us_64();
        const int ready = control_work(&body);
        const uint64_t taken = time_us_64() - before;
        longest = taken > longest ? taken : longest;
        if (ready) {
            act(&body.action);
            if (++acted % REPORT_EVERY == 0) {
                printf("action after %llu us, longest slice %llu us, missed %lu\n", time_us_64() - began, longest,
                       (unsigned long)body.missed);
            }
        }
    }
}
