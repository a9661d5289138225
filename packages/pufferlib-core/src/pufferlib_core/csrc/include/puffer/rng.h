/* Counter-based random numbers: Threefry-2x32 with 20 rounds (Salmon et al., SC 2011), 32-bit integer operations only.
 *
 * A stream is keyed by (seed, stream); its block `c` is two 32-bit words, independent of every other block, so the
 * numbers do not depend on threads, batch size or the order of calls. Bit-equal on every target.
 */
#ifndef PUFFER_RNG_H
#define PUFFER_RNG_H

#include "puffer/port.h"

/* <cdef> */
typedef struct {
    uint32_t key[2];
    uint32_t counter[2]; /* next block: low word, high word */
} puf_rng;
/* </cdef> */

#define PUF_ROTL32(x, r) (((x) << (r)) | ((x) >> (32 - (r))))

/* out = Threefry-2x32-20(key, counter). Equals the known-answer vectors of Random123 and jax's threefry_2x32. */
PUF_INLINE void puf_threefry(uint32_t key0, uint32_t key1, uint32_t counter0, uint32_t counter1, uint32_t *out0,
                             uint32_t *out1) {
    const uint32_t key2 = 0x1BD11BDAu ^ key0 ^ key1;
    uint32_t a = counter0 + key0;
    uint32_t b = counter1 + key1;
#define PUF_ROUND(r) a += b; b = PUF_ROTL32(b, r) ^ a;
#define PUF_FOUR_EVEN PUF_ROUND(13) PUF_ROUND(15) PUF_ROUND(26) PUF_ROUND(6)
#define PUF_FOUR_ODD PUF_ROUND(17) PUF_ROUND(29) PUF_ROUND(16) PUF_ROUND(24)
    PUF_FOUR_EVEN a += key1; b += key2 + 1u;
    PUF_FOUR_ODD a += key2; b += key0 + 2u;
    PUF_FOUR_EVEN a += key0; b += key1 + 3u;
    PUF_FOUR_ODD a += key1; b += key2 + 4u;
    PUF_FOUR_EVEN a += key2; b += key0 + 5u;
#undef PUF_ROUND
#undef PUF_FOUR_EVEN
#undef PUF_FOUR_ODD
    *out0 = a;
    *out1 = b;
}

/* The key of stream `stream` of `seed`: one block of the cipher keyed by the seed. */
PUF_INLINE puf_rng puf_rng_stream(uint64_t seed, uint64_t stream) {
    puf_rng rng = {{0, 0}, {0, 0}};
    puf_threefry((uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)stream, (uint32_t)(stream >> 32), &rng.key[0],
                 &rng.key[1]);
    return rng;
}

/* The next two words of the stream. */
PUF_INLINE void puf_rng_next(puf_rng *rng, uint32_t *word0, uint32_t *word1) {
    puf_threefry(rng->key[0], rng->key[1], rng->counter[0], rng->counter[1], word0, word1);
    rng->counter[0] += 1u;
    rng->counter[1] += rng->counter[0] == 0u;
}

/* Uniform in [0, 1), a multiple of 2^-24. */
PUF_INLINE float puf_unit(uint32_t word) { return (float)(int32_t)(word >> 8) * 5.9604644775390625e-8f; }

/* Uniform in (0, 1]: safe to take the logarithm of. */
PUF_INLINE float puf_unit_open(uint32_t word) { return (float)(int32_t)((word >> 8) + 1u) * 5.9604644775390625e-8f; }

/* Uniform in [low, high). */
PUF_INLINE float puf_uniform(uint32_t word, float low, float high) { return low + (high - low) * puf_unit(word); }

/* Uniform integer in [0, bound), bound >= 1, by the high half of a product (bias below bound / 2^32). */
PUF_INLINE uint32_t puf_below(uint32_t word, uint32_t bound) {
    return (uint32_t)(((uint64_t)word * (uint64_t)bound) >> 32);
}

/* <cdef> */
/* out[2 i], out[2 i + 1] = block (first + i) of stream (seed, stream), i in [0, blocks). */
int puf_rng_fill(uint64_t seed, uint64_t stream, uint64_t first, uint32_t *out, int64_t blocks);
/* </cdef> */

#endif
