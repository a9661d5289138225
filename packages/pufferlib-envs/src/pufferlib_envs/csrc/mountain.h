/* The car and the hill that both mountain cars share; included by their C files alone. */
#ifndef PUFFER_MOUNTAIN_H
#define PUFFER_MOUNTAIN_H

#include "puffer/math.h"
#include "puffer/rng.h"

#define MOUNTAIN_LEFT -1.2f
#define MOUNTAIN_RIGHT 0.6f
#define MOUNTAIN_SPEED 0.07f

typedef struct {
    float position, velocity;
    puf_rng rng;
} mountain_car;

PUF_INLINE int mountain_goal_legal(float position, float velocity) {
    return position > MOUNTAIN_LEFT && position <= MOUNTAIN_RIGHT && velocity >= 0.0f && velocity <= MOUNTAIN_SPEED;
}

static void observe(const void *config, const void *state, float *obs) {
    const mountain_car *car = (const mountain_car *)state;
    (void)config;
    obs[0] = car->position;
    obs[1] = car->velocity;
}

static void reset_one(const void *config, void *state, float *obs) {
    mountain_car *car = (mountain_car *)state;
    uint32_t a, b;
    puf_rng_next(&car->rng, &a, &b);
    car->position = puf_uniform(a, -0.6f, -0.4f);
    car->velocity = 0.0f;
    observe(config, state, obs);
}

PUF_INLINE void mountain_move(mountain_car *car, float push, float gravity) {
    float sine, cosine;
    puf_sincos(3.0f * car->position, &sine, &cosine);
    car->velocity = puf_clamp(car->velocity + (push - gravity * cosine), -MOUNTAIN_SPEED, MOUNTAIN_SPEED);
    car->position = puf_clamp(car->position + car->velocity, MOUNTAIN_LEFT, MOUNTAIN_RIGHT);
    if (car->position <= MOUNTAIN_LEFT && car->velocity < 0.0f) { car->velocity = 0.0f; }
}

#endif
