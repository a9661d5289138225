/* One row through a policy with little memory: parameters are read where they lie, in flash for instance, in the order of
 * the flat vector (net.h). Nothing is packed, and nothing is worked on but the row.
 *
 * It acts alone: of separate networks the critic is left out, and the value head always, so that it reads no more than the
 * first numbers of the flat vector, and hands on no more than the first numbers of a carry. Actions are the most likely ones,
 * after what is done to them on their way to the environment. Serial and in one order: the same bits on every target without
 * FMA contraction, and within 1e-6 of the kernels' relative to the largest number on the way.
 *
 * The caller owns everything. Threads: calls with different carry, scratch and results may run at once.
 */
#ifndef PUFFER_LEAN_H
#define PUFFER_LEAN_H

#include "puffer/net.h"

/* <cdef> */
enum {
    PUF_LEAN_TANH = 16, /* multiplications that an activation counts for, of whichever kind */
    PUF_LEAN_BUSY = 1   /* no fault: the row is not through yet */
};

typedef struct {
    puf_net net;               /* legal: puf_net_check */
    const float *params;       /* (puf_lean_params) */
    const float *mean, *scale; /* (obs_size): the network reads (obs - mean) * scale, clipped; NULL: it reads obs */
    float clip;                /* to [-clip, clip] */
    const float *low, *high;   /* (A): numbers are clipped or, with action_squash, squashed to them; NULL where A is 0 */
} puf_lean;

/* How many numbers are read of the flat vector; 0 if the sizes are not legal. */
int64_t puf_lean_params(const puf_net *net);
/* Numbers handed on from step to step: the first of a row of puf_net_carry. */
int32_t puf_lean_carry(const puf_net *net);
/* Floats of scratch; what they hold has no meaning between calls. */
int64_t puf_lean_scratch(const puf_net *net);
/* obs (obs_size), of obs_number -> heads (L): the logits of the choices, then the means of the numbers. carry
 * (puf_lean_carry) is overwritten with what is handed on, zeros where an episode begins; NULL without a memory. No two may
 * overlap. PUF_ENONFINITE: an observation is not finite; carry and heads are as they were. PUF_EINVAL: a pointer is missing. */
int puf_lean_heads(const puf_lean *lean, const void *obs, float *carry, float *scratch, float *heads);
/* The same in slices, for a scheduler without threads. `begin` reads the observation, which may change from then on; `continue`
 * works until its budget is spent and returns PUF_LEAN_BUSY, or PUF_OK once heads and carry are written. Both keep in *at where
 * they are; scratch and *at stay as they are in between, carry is only read until the end, and heads fill up. Another `begin`
 * drops a row on its way.
 *
 * A unit of work is one number of a layer (of a core: one with all its gates). It costs its inputs, each a multiplication, and
 * PUF_LEAN_TANH for each activation (5 in a unit of an LSTM, 3 of a GRU); handing a number on costs 1. A call does at least one
 * unit, and no further one that would pass its budget (at least 1): its work is at most the larger of the budget and the dearest
 * unit, and what reaches it, a few steps for each layer; the last call also copies the carry. Results are those of
 * puf_lean_heads to the bit, whatever the budgets. PUF_EINVAL: as above, or nothing was begun. */
int puf_lean_begin(const puf_lean *lean, const void *obs, float *scratch, int32_t *at);
int puf_lean_continue(const puf_lean *lean, int32_t budget, int32_t *at, float *carry, float *scratch, float *heads);
/* heads (L) -> action: K int32 words, the first most likely option of each choice, then A float32 words. PUF_EINVAL: a
 * pointer is missing. */
int puf_lean_action(const puf_lean *lean, const float *heads, void *action);
/* </cdef> */

#endif
