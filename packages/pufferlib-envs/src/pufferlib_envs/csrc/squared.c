#include "squared.h"

#include "scalar_env.h"

typedef struct {
    int32_t row, column, target_row, target_column;
    puf_rng rng;
} squared;

static const puf_squared_config DEFAULTS = {.distance = 3};

SCALAR_ENV(squared, squared, puf_squared_config)

static int describe(const void *config, puf_env_info *info) {
    const int32_t distance = settings(config)->distance;
    if (distance < 1 || distance > 32) { return PUF_EINVAL; }
    info->obs_size = (2 * distance + 1) * (2 * distance + 1);
    info->action_size = 1;
    info->action_n[0] = 8;
    info->max_episode_steps = 4 * distance;
    return PUF_OK;
}

static int on_board(int32_t side, int32_t row, int32_t column) {
    return row >= 0 && row < side && column >= 0 && column < side;
}

static void observe(const void *config, const void *state, float *obs) {
    const squared *s = (const squared *)state;
    const int32_t side = 2 * settings(config)->distance + 1;
    for (int32_t k = 0; k < side * side; k++) { obs[k] = 0.0f; }
    obs[s->target_row * side + s->target_column] = 1.0f;
    if (on_board(side, s->row, s->column)) { obs[s->row * side + s->column] = -1.0f; }
}

static void reset_one(const void *config, void *state, float *obs) {
    squared *s = (squared *)state;
    const int32_t distance = settings(config)->distance, last = 2 * distance;
    uint32_t a, b;
    puf_rng_next(&s->rng, &a, &b);
    s->row = s->column = distance;
    /* The edge as four runs of 2 distance cells, each without its end, clockwise from the upper left corner. */
    const int32_t cell = (int32_t)puf_below(a, 8u * (uint32_t)distance), along = cell % last;
    switch (cell / last) {
        case 0: s->target_row = 0; s->target_column = along; break;
        case 1: s->target_row = along; s->target_column = last; break;
        case 2: s->target_row = last; s->target_column = last - along; break;
        default: s->target_row = last - along; s->target_column = 0; break;
    }
    observe(config, state, obs);
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    static const int32_t ROWS[8] = {-1, -1, 0, 1, 1, 1, 0, -1}, COLUMNS[8] = {0, 1, 1, 1, 0, -1, -1, -1};
    squared *s = (squared *)state;
    const int32_t move = *(const int32_t *)action;
    (void)cost;
    (void)truncated;
    s->row += ROWS[move];
    s->column += COLUMNS[move];
    const int inside = on_board(2 * settings(config)->distance + 1, s->row, s->column);
    const int reached = s->row == s->target_row && s->column == s->target_column;
    *terminated = (uint8_t)(reached || !inside);
    *reward = reached ? 1.0f : (inside ? 0.0f : -1.0f);
    observe(config, state, obs);
}
