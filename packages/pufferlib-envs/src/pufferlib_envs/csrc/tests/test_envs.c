/* Every environment, on every instruction set and in every autoreset mode: the same bytes, finite numbers, saved states that
 * continue; for the sanitizers too. */
#include "check.h"

#include <string.h>

#include "puffer/puffer.h"

#include "acrobot.h"
#include "bandit.h"
#include "cartpole.h"
#include "catch.h"
#include "deep_sea.h"
#include "memory.h"
#include "mountain_car.h"
#include "mountain_car_continuous.h"
#include "pendulum.h"
#include "squared.h"

static const struct {
    const char *name;
    const void *(*table)(int isa);
} ENVS[] = {
    {"acrobot", puf_env_table_acrobot},
    {"bandit", puf_env_table_bandit},
    {"cartpole", puf_env_table_cartpole},
    {"catch", puf_env_table_catch},
    {"deep_sea", puf_env_table_deep_sea},
    {"memory", puf_env_table_memory},
    {"mountain_car", puf_env_table_mountain_car},
    {"mountain_car_continuous", puf_env_table_mountain_car_continuous},
    {"pendulum", puf_env_table_pendulum},
    {"squared", puf_env_table_squared},
};

enum { N = 45, MORE = 100 }; /* environments; steps beyond the time limit, so that each meets it */

typedef struct {
    puf_vec *vec;
    puf_env_info info;
    puf_planes out;
    void *mem, *action;
} world;

static world make(const void *table, int isa, int autoreset) {
    world w = {0};
    CHECK(puf_env_describe(table, NULL, &w.info) == PUF_OK);
    const size_t bytes = puf_vec_bytes(table, NULL, N, autoreset), wide = (size_t)w.info.obs_size * 4;
    w.mem = block(bytes);
    CHECK(puf_vec_init(&w.vec, w.mem, bytes, table, NULL, N, autoreset, isa, 11, 0) == PUF_OK);
    w.out = (puf_planes){.obs = block(N * wide), .reward = block(N * 4), .cost = block(N * 4), .terminated = block(N),
                         .truncated = block(N), .valid = block(N), .final_obs = block(N * wide),
                         .log = block(N * sizeof(puf_episode)),
                         .action_mask = w.info.masks ? block((size_t)N * (size_t)w.info.logits) : NULL};
    w.action = block((size_t)N * (size_t)w.info.action_size * 4);
    CHECK(puf_vec_reset(w.vec, NULL, NULL, w.out.obs, w.out.action_mask) == PUF_OK);
    return w;
}

static void free_world(world w) {
    void *all[] = {w.out.obs, w.out.reward, w.out.cost, w.out.terminated, w.out.truncated, w.out.valid, w.out.final_obs,
                   w.out.log, w.out.action_mask, w.action, w.mem};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) { free(all[i]); }
}

/* Actions of step t: the same for every world. */
static void choose(const world *w, uint32_t t) {
    for (int32_t i = 0; i < N * w->info.action_size; i++) {
        uint32_t a, b;
        puf_threefry(3, 4, t, (uint32_t)i, &a, &b);
        if (w->info.action_kind == PUF_ACTION_CONTINUOUS) {
            ((float *)w->action)[i] = puf_uniform(a, -2.0f, 2.0f);
        } else {
            ((int32_t *)w->action)[i] = (int32_t)puf_below(a, (uint32_t)w->info.action_n[i % w->info.action_size]);
        }
    }
}

/* Of words, because bytes take four times as long under valgrind. */
static uint64_t mix(uint64_t hash, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 4) {
        uint32_t word = 0;
        memcpy(&word, (const unsigned char *)data + i, bytes - i < 4 ? bytes - i : 4);
        hash = (hash ^ word) * 1099511628211ull;
    }
    return hash;
}

/* Runs steps [from, to); returns a hash of what came out, and adds to `finished` how many episodes ended. */
static uint64_t play(world *w, uint32_t from, uint32_t to, uint64_t hash, int *finished) {
    for (uint32_t t = from; t < to; t++) {
        choose(w, t);
        const int ended = puf_vec_step(w->vec, NULL, w->action, &w->out);
        CHECK(ended >= 0);
        *finished += ended;
        for (int32_t i = 0; i < N * w->info.obs_size; i++) { CHECK(puf_finite(w->out.obs[i])); }
        for (int32_t i = 0; i < N; i++) { CHECK(puf_finite(w->out.reward[i])); }
        hash = mix(hash, w->out.obs, (size_t)(N * w->info.obs_size) * 4);
        hash = mix(hash, w->out.reward, N * 4);
        hash = mix(hash, w->out.terminated, N);
        hash = mix(hash, w->out.truncated, N);
        hash = mix(hash, w->out.valid, N);
    }
    return hash;
}

static void check_env(const void *(*table)(int isa), int autoreset) {
    uint64_t reference = 0;
    for (int isa = 0; isa < PUF_ISA_COUNT; isa++) {
        if (!puf_isa_usable(isa)) { continue; }
        world w = make(table(isa), isa, autoreset), other = make(table(isa), isa, autoreset);
        const uint32_t steps = (uint32_t)w.info.max_episode_steps + MORE;
        int finished = 0;
        uint64_t hash = play(&w, 0, steps / 2, 1, &finished);
        unsigned char *record = (unsigned char *)block(puf_vec_record_bytes(w.vec));
        for (int32_t i = 0; i < N; i++) {
            CHECK(puf_vec_save(w.vec, i, record) == PUF_OK && puf_vec_load(other.vec, i, record) == PUF_OK);
        }
        hash = play(&w, steps / 2, steps, hash, &finished);
        CHECK(finished >= N);
        const uint64_t half = play(&w, steps, steps + 20, 1, &finished);
        play(&other, steps / 2, steps, 1, &finished);
        CHECK(play(&other, steps, steps + 20, 1, &finished) == half);
        if (isa == PUF_ISA_SERIAL) { reference = hash; }
        CHECK(hash == reference);
        free(record);
        free_world(w);
        free_world(other);
    }
}

int main(void) {
    for (size_t k = 0; k < sizeof ENVS / sizeof ENVS[0]; k++) {
        const int before = failures;
        for (int autoreset = PUF_SAME_STEP; autoreset <= PUF_NO_RESET; autoreset++) { check_env(ENVS[k].table, autoreset); }
        if (failures != before) { fprintf(stderr, "in %s\n", ENVS[k].name); }
    }
    return failures != 0;
}
