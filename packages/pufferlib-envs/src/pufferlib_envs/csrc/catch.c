#include "catch.h"

#include "scalar_env.h"

typedef struct {
    int32_t ball_row, ball_column, paddle;
    puf_rng rng;
} catch_state;

static const puf_catch_config DEFAULTS = {.rows = 10, .columns = 5};

SCALAR_ENV(catch, catch_state, puf_catch_config)

static int describe(const void *config, puf_env_info *info) {
    const puf_catch_config *c = settings(config);
    info->obs_size = c->rows * c->columns;
    info->action_size = 1;
    info->action_n[0] = 3;
    return c->rows >= 2 && c->rows <= 64 && c->columns >= 1 && c->columns <= 64 ? PUF_OK : PUF_EINVAL;
}

static void observe(const void *config, const void *state, float *obs) {
    const puf_catch_config *c = settings(config);
    const catch_state *s = (const catch_state *)state;
    for (int32_t k = 0; k < c->rows * c->columns; k++) { obs[k] = 0.0f; }
    obs[s->ball_row * c->columns + s->ball_column] = 1.0f;
    obs[(c->rows - 1) * c->columns + s->paddle] = 1.0f;
}

static void reset_one(const void *config, void *state, float *obs) {
    const puf_catch_config *c = settings(config);
    catch_state *s = (catch_state *)state;
    uint32_t a, b;
    puf_rng_next(&s->rng, &a, &b);
    s->ball_row = 0;
    s->ball_column = (int32_t)puf_below(a, (uint32_t)c->columns);
    s->paddle = c->columns / 2;
    observe(config, state, obs);
}

static void step_one(const void *config, void *state, const void *action, float *obs, float *reward, float *cost,
                     uint8_t *terminated, uint8_t *truncated) {
    const puf_catch_config *c = settings(config);
    catch_state *s = (catch_state *)state;
    const int32_t moved = s->paddle + *(const int32_t *)action - 1;
    (void)cost;
    (void)truncated;
    s->paddle = moved < 0 ? 0 : (moved >= c->columns ? c->columns - 1 : moved);
    s->ball_row++;
    *terminated = s->ball_row == c->rows - 1;
    *reward = !*terminated ? 0.0f : (s->paddle == s->ball_column ? 1.0f : -1.0f);
    observe(config, state, obs);
}
