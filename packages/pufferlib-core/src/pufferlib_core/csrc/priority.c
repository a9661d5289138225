#include "puffer/priority.h"

#include "puffer/math.h"
#include "puffer/rng.h"
#include "seeds.h"

#define LEAST 1e-6           /* of a priority, so that no environment is out of reach */
#define TINY 1.17549435e-38f /* puf_log takes no smaller number, and */
#define VAST 3.40282347e38f  /* no larger one */
#define NOTHING (-1000.0)    /* exponent of 0 */
#define LARGEST 80.0         /* exponent up to which puf_exp is finite, with room for sums */

static int legal(const puf_priorities *c) {
    if (c->steps < 1 || c->n < 1 || c->epochs < 1 || c->minibatch < 1 || c->memory < 0 || c->memory > 1) { return 0; }
    const int64_t rows = (int64_t)c->steps * c->n;
    const int fits = c->minibatch % c->steps == 0 && rows % c->minibatch == 0 && rows <= 0x7FFFFFFF / c->epochs;
    return fits && c->alpha > 0.0f && puf_finite(c->alpha) && puf_finite(c->beta);
}

/* below[i]: the logarithm of the priority of environment i, without LEAST; returns the largest. */
static double exponents(const puf_priorities *c, const float *advantage, const uint8_t *valid, double *below) {
    double top = 0.0;
    for (int32_t i = 0; i < c->n; i++) { below[i] = 0.0; }
    for (int32_t t = 0; t < c->steps; t++) {
        const int64_t at = (int64_t)t * c->n;
        for (int32_t i = 0; i < c->n; i++) { below[i] += valid[at + i] ? (double)puf_abs(advantage[at + i]) : 0.0; }
    }
    for (int32_t i = 0; i < c->n; i++) {
        const double sum = below[i] < (double)VAST ? below[i] : (double)VAST;
        below[i] = sum >= (double)TINY ? (double)c->alpha * (double)puf_log((float)sum) : NOTHING;
        top = below[i] > top ? below[i] : top;
    }
    return top;
}

static double power(double exponent) { return (double)puf_exp((float)(exponent > NOTHING ? exponent : NOTHING)); }

/* Logarithms become probabilities. All priorities are scaled alike where the largest would not be finite. */
static void share(const puf_priorities *c, double top, double *below) {
    const double shift = top > LARGEST ? top - LARGEST : 0.0, least = LEAST * power(-shift);
    double sum = 0.0;
    for (int32_t i = 0; i < c->n; i++) {
        below[i] = power(below[i] - shift) + least;
        sum += below[i];
    }
    for (int32_t i = 0; i < c->n; i++) { below[i] /= sum; }
}

/* Factors from probabilities, which then become sums. */
static void weigh(const puf_priorities *c, double *below, float *importance) {
    double sum = 0.0;
    for (int32_t i = 0; i < c->n; i++) {
        importance[i] = puf_exp(-c->beta * puf_log(puf_max((float)((double)c->n * below[i]), TINY)));
        sum += below[i];
        below[i] = sum;
    }
    for (int32_t t = 1; t < c->steps; t++) { puf_copy(importance + (int64_t)t * c->n, importance, (size_t)c->n * 4); }
}

/* The first environment whose sum is above x. */
static int32_t find(const double *below, int32_t n, double x) {
    int32_t low = 0, high = n - 1;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (below[middle] <= x) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Environments become the rows of their minibatch, from the end, in place. */
static void spread(const puf_priorities *c, int32_t *order) {
    const int32_t each = c->minibatch / c->steps;
    for (int32_t batch = c->epochs * c->n / each - 1; batch >= 0; batch--) {
        const int32_t *drawn = order + (int64_t)batch * each;
        int32_t *rows = order + (int64_t)batch * c->minibatch;
        for (int32_t t = c->steps - 1; t >= 0; t--) {
            for (int32_t e = each - 1; e >= 0; e--) { rows[t * each + e] = t * c->n + drawn[e]; }
        }
    }
}

int puf_prioritize(const puf_priorities *c, const float *advantage, const uint8_t *valid, uint64_t seed, uint64_t update,
                   double *below, float *importance, int32_t *order) {
    if (c == NULL || advantage == NULL || valid == NULL || below == NULL || importance == NULL || order == NULL || !legal(c)) {
        return PUF_EINVAL;
    }
    share(c, exponents(c, advantage, valid, below), below);
    weigh(c, below, importance);
    puf_rng rng = puf_rng_stream(seed, PUF_STREAM_PRIORITY + (update >> 32));
    rng.counter[1] = (uint32_t)update; /* 2^32 draws for each update */
    for (int32_t k = 0; k < c->epochs * c->n; k++) {
        uint32_t high, low;
        puf_rng_next(&rng, &high, &low);
        order[k] = find(below, c->n, ((double)(high >> 5) * 67108864.0 + (double)(low >> 6)) * (1.0 / 9007199254740992.0));
    }
    if (!c->memory) { spread(c, order); }
    return PUF_OK;
}
