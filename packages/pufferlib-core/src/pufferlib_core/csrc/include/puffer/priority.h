/* Minibatches by priority: environments with large advantages are learnt from more often (pufferlib_core.ops.priorities; the
 * idea of Schaul et al. 2016, arXiv 1511.05952, for the environments of one segment, as in PufferLib 3).
 *
 * Scalar arithmetic in one stated order and the core's own random stream: bit-equal on every target.
 */
#ifndef PUFFER_PRIORITY_H
#define PUFFER_PRIORITY_H

#include "puffer/port.h"
#include "puffer/status.h"

/* <cdef> */
typedef struct {
    int32_t steps, n;  /* of the segment */
    int32_t epochs;
    int32_t minibatch; /* rows; a multiple of steps that divides steps * n */
    int32_t memory;    /* 1: minibatches take environments, 0: rows */
    float alpha;       /* > 0: power of the advantages */
    float beta;        /* correction for the draw: 0 none, 1 full */
} puf_priorities;

/* Draws the environments of all minibatches with replacement, in proportion to (sum of |advantage| over valid rows)^alpha + 1e-6,
 * by block (draw, low word of update) of stream (seed, PRIORITY + high word of update).
 *
 * advantage, valid: (steps, n).
 * below: (n) sums of the probabilities of the environments up to each: it is drawn where a number in [0, 1) is below its own and
 *     not below the one before.
 * importance: (steps, n) (n p)^-beta of each row's environment, p its probability: factor of its advantage.
 * order: (epochs, n) environments with a memory, else (epochs, steps * n) rows t * n + environment, minibatch by minibatch, in
 *     each time by time. No aliasing. PUF_EINVAL: NULL, sizes that do not fit each other, or alpha or
 *     beta out of range. */
int puf_prioritize(const puf_priorities *config, const float *advantage, const uint8_t *valid, uint64_t seed, uint64_t update,
                   double *below, float *importance, int32_t *order);
/* </cdef> */

#endif
