/* A square board of side 2 distance + 1, after the idea of PufferLib's `squared`: the agent starts in the middle, a target lies on
 * the edge, and each step moves one cell in one of eight directions.
 *
 * Observation: the board row by row; 1 at the target, -1 at the agent, else 0. Actions: 0 .. 7, clockwise from up. Reward 1 for
 * reaching the target, -1 for leaving the board (both terminate), else 0. Truncated after 4 distance steps. The target is uniform over the
 * 8 distance cells of the edge; the best policy reaches it in `distance` steps and earns 1.
 */
#ifndef PUFFER_SQUARED_H
#define PUFFER_SQUARED_H

#include "puffer/env.h"

/* <cdef> */
typedef struct {
    int32_t distance;
} puf_squared_config;

const void *puf_env_table_squared(int isa);
/* </cdef> */

#endif
