/* ESP32: a policy fifty times a second in the main task, which lets others run between its slices. Pin 8 shows its first choice. */
#include "control.h"
#include "driver/gpio.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

enum { PERIOD_MS = 20, REPORT_EVERY = 50 };

static const gpio_num_t LAMP = GPIO_NUM_8;
static control body;
static float obs[POLICY_OBS];

/* Put your sensors here: POLICY_OBS numbers, in the units of the environment. */
static void read_sensors(void) {
    for (int i = 0; i < POLICY_OBS; i++) { obs[i] = 0.0f; }
}

/* Put your motors here. */
static void act(const policy_action *action) {
#if POLICY_CHOICES > 0
    gpio_set_level(LAMP, action->choice[0] != 0);
#else
    gpio_set_level(LAMP, action->number[0] > 0.0f);
#endif
}

void app_main(void) {
    gpio_set_direction(LAMP, GPIO_MODE_OUTPUT);
    control_init(&body);
    TickType_t woke = xTaskGetTickCount();
    for (uint32_t acted = 0;; acted++) {
        const int64_t began = esp_timer_get_time();
        read_sensors();
        control_begin(&body, obs);
        while (body.busy) {
            if (control_work(&body)) { act(&body.action); }
            taskYIELD();
        }
        if (acted % REPORT_EVERY == 0) {
            ESP_LOGI("policy", "action after %lld us, faults %lu", (long long)(esp_timer_get_time() - began), (unsigned long)body.faults);
        }
        vTaskDelayUntil(&woke, pdMS_TO_TICKS(PERIOD_MS));
    }
}
