/* Prints the digests of tools/golden.py for every environment in ENVIRONMENTS (a list X(name) X(name) ... from the build). */
#include <stdio.h>
#include <stdlib.h>

#include "puffer/puffer.h"

enum { ENVS = 4, STEPS = 1000, EVERY = 100 };

#define X(name) const void *puf_env_table_##name(int isa);
ENVIRONMENTS
#undef X

static uint64_t mix(uint64_t digest, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) { digest = (digest ^ ((const unsigned char *)data)[i]) * 0x100000001B3ull; }
    return digest;
}

/* Zeroed memory on a cache line, never given back; the same on systems without aligned_alloc. */
static void *block(size_t bytes) {
    PUF_ALIGNED(64) static unsigned char arena[1 << 20];
    static size_t used;
    void *here = arena + used;
    used += (bytes + 63) / 64 * 64;
    if (used > sizeof arena) { exit(2); }
    return here;
}

static void play(const char *name, const void *table, int isa) {
    puf_env_info info;
    puf_vec *vec;
    const size_t bytes = puf_vec_bytes(table, NULL, ENVS, PUF_SAME_STEP);
    if (puf_env_describe(table, NULL, &info) != PUF_OK ||
        puf_vec_init(&vec, block(bytes), bytes, table, NULL, ENVS, PUF_SAME_STEP, isa, 0, 0) != PUF_OK) {
        exit(2);
    }
    const size_t obs = ENVS * 4 * (size_t)info.obs_size;
    const int32_t numbers = ENVS * info.action_size;
    const puf_planes out = {.obs = block(obs), .reward = block(4 * ENVS), .terminated = block(ENVS), .truncated = block(ENVS)};
    uint32_t *action = block(4 * (size_t)numbers);
    puf_vec_reset(vec, NULL, NULL, out.obs, NULL);
    uint64_t digest = 0xCBF29CE484222325ull;
    printf("%s", name);
    for (uint32_t t = 0; t < STEPS; t++) {
        for (int32_t i = 0; i < numbers; i++) {
            uint32_t word, unused;
            puf_threefry(3, 4, t, (uint32_t)i, &word, &unused);
            const float number = -2.0f + 4.0f * puf_unit(word);
            action[i] = info.action_kind == PUF_ACTION_CONTINUOUS
                            ? puf_to_bits(number)
                            : puf_below(word, (uint32_t)info.action_n[i % info.action_size]);
        }
        if (puf_vec_step(vec, NULL, action, &out) < 0) { exit(2); }
        digest = mix(mix(mix(mix(digest, out.obs, obs), out.reward, 4 * ENVS), out.terminated, ENVS), out.truncated, ENVS);
        if ((t + 1) % EVERY == 0) { printf(" %016llx", (unsigned long long)digest); }
    }
    printf("\n");
}

int main(void) {
    const int isa = puf_isa_best();
    printf("isa %s\n", puf_isa_name(isa));
#define X(name) play(#name, puf_env_table_##name(isa), isa);
    ENVIRONMENTS
    return 0;
}
