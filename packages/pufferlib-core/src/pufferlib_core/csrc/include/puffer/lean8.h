/* One row through a policy in integers: lean.h with weights of 8 bits, for devices with little flash or without floats.
 *
 * Numbers of an observation are scaled and rounded as float32 where they enter; everything after them is integer arithmetic
 * that has one result on every target, until heads are handed out as floats (exactly: a whole number below 2^24 times a power
 * of two). Weights are int8, symmetric, with a scale for each row; numbers between layers are int8.
 *
 *   rounding    (x * multiplier + 2^(shift - 1)) / 2^shift, rounded down: to the nearest, ties upwards
 *   saturation  weights, inputs and tanh to [-127, 127]; relu to [-128, 127], where -128 is 0; heads to 2^24; what enters tanh
 *               or the logistic function to 65535 * 2^-12, almost 16
 *   tanh        a table of 257 numbers in steps of 1/32 with lines between them: off by less than 1.2e-4; the logistic function by less than 8e-5
 *   memory      h in units of 2^-15, and a copy in units of 1/127 for products; c of an LSTM in units of 2^-cell, int16 both
 *
 * Sums must fit: of every row |bias| + 128 (|w_0| + |w_1| + ...) < 2^31. Who makes the numbers sees to it (the exporter does,
 * pufferlib_embedded/quantize.py); nothing is checked here.
 *
 * The caller owns everything. Threads: calls with different carry, scratch and results may run at once.
 */
#ifndef PUFFER_LEAN8_H
#define PUFFER_LEAN8_H

#include "puffer/lean.h"

/* <cdef> */
typedef struct {
    /* The network and its bounds for puf_lean_action; params is not read. Inputs are (obs - mean) * scale, clipped to at most
     * [-127, 127], rounded; without a mean (observations of PUF_U8 alone) obs - 128. */
    puf_lean lean;
    /* Matrices in the order of the flat vector (net.h); convolutions have their channels last (out, row, column, channel). */
    const int8_t *weight;
    const int32_t *bias;       /* of every row */
    const int32_t *multiplier; /* of every row, 0 .. 2^31 - 1: sums to units of 2^-12, of a relu to its own, of heads to 2^-point */
    const uint8_t *shift;      /* of every matrix, 1 .. 62 */
    int32_t cell;              /* c of an LSTM is in units of 2^-cell; 1 .. 12 */
    int32_t point;             /* heads are in units of 2^-point; 0 .. 30 */
} puf_lean8;

/* What functions of these names do in lean.h. carry: twice puf_lean_carry numbers: h and then c, and room for those that are
 * handed on; scratch: puf_lean_scratch numbers. A unit of work is one number of a layer, at the same costs; a core also makes
 * bytes of h before and after, at 1 each. */
int puf_lean8_heads(const puf_lean8 *lean, const void *obs, int16_t *carry, int8_t *scratch, float *heads);
int puf_lean8_begin(const puf_lean8 *lean, const void *obs, int8_t *scratch, int32_t *at);
int puf_lean8_continue(const puf_lean8 *lean, int32_t budget, int32_t *at, int16_t *carry, int8_t *scratch, float *heads);
/* </cdef> */

#endif
