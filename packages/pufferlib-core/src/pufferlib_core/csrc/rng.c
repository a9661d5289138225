#include "puffer/rng.h"

#include "puffer/status.h"

int puf_rng_fill(uint64_t seed, uint64_t stream, uint64_t first, uint32_t *out, int64_t blocks) {
    if (out == NULL || blocks < 0) { return PUF_EINVAL; }
    const puf_rng rng = puf_rng_stream(seed, stream);
    for (int64_t i = 0; i < blocks; i++) {
        const uint64_t block = first + (uint64_t)i;
        puf_threefry(rng.key[0], rng.key[1], (uint32_t)block, (uint32_t)(block >> 32), &out[2 * i], &out[2 * i + 1]);
    }
    return PUF_OK;
}
