/* Acting again and again on the same memory: everything is told once, and a call passes two pointers.
 *
 * The caller owns the struct and what it points to, and may change any of it between calls; the fields are the arguments of
 * puf_policy_act. Threads: like the policy's, one call at a time.
 */
#ifndef PUFFER_ACTOR_H
#define PUFFER_ACTOR_H

#include "puffer/net.h"

/* <cdef> */
typedef struct {
    puf_policy *policy;
    const void *obs;            /* (n, obs_size) */
    const uint8_t *action_mask; /* (n, L - A) or NULL */
    float *carry;               /* (n, puf_net_carry); NULL without a memory */
    void *action;               /* (n, K + A) words, written */
    float *logprob, *value;     /* (n), written; or NULL */
    uint64_t seed, step;        /* step: counted up by each call that acts */
    int32_t n;
    uint32_t first_env;
    int32_t greedy;
} puf_actor;

/* puf_policy_act with the fields of the actor; returns its status. */
int puf_actor_act(puf_actor *actor, const puf_exec *exec);
/* </cdef> */

#endif
