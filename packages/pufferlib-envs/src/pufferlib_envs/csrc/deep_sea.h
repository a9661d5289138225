/* DeepSea, of bsuite (Osband et al. 2020): a chain that only deliberate exploration solves.
 *
 * The diver starts in the upper left corner of a size x size grid, sinks one row a step and moves one column right or left; the
 * walls stop it. In each cell one of the two actions is `right`, drawn from map_seed (the same for all environments and episodes).
 * Moving right costs 0.01 / size; moving right in the last row's last column earns 1. Terminated after size steps.
 * Observation: the grid row by row, 1 at the diver; all 0 at the end. The best policy goes right always and earns 0.99; random actions
 * find it once in 2^size episodes.
 */
#ifndef PUFFER_DEEP_SEA_H
#define PUFFER_DEEP_SEA_H

#include "puffer/env.h"

/* <cdef> */
typedef struct {
    int32_t size;
    uint32_t map_seed;
} puf_deep_sea_config;

const void *puf_env_table_deep_sea(int isa);
/* </cdef> */

#endif
