/* A bandit with Bernoulli arms (Sutton and Barto, chapter 2): one step an episode, reward 1 with the probability of the arm that was pulled.
 *
 * The arm `best` pays with probability `high`, the others with `low`. Observation: the number 1. The best policy earns `high`.
 */
#ifndef PUFFER_BANDIT_H
#define PUFFER_BANDIT_H

#include "puffer/env.h"

/* <cdef> */
typedef struct {
    int32_t arms, best;
    float high, low;
} puf_bandit_config;

const void *puf_env_table_bandit(int isa);
/* </cdef> */

#endif
