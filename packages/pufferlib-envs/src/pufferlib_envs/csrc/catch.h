/* Catch, of bsuite (Osband et al. 2020): a ball falls, a paddle must be below it.
 *
 * Observation: the board row by row, 1 at the ball and at the paddle (bottom row), else 0. Actions: 0 left, 1 stay, 2 right; the paddle
 * stops at the walls. The ball starts in a uniform column of the top row and falls one row a step; in the bottom row the
 * episode ends with reward 1 if the paddle is there, else -1. The paddle starts in the middle. The best policy earns 1.
 */
#ifndef PUFFER_CATCH_H
#define PUFFER_CATCH_H

#include "puffer/env.h"

/* <cdef> */
typedef struct {
    int32_t rows, columns;
} puf_catch_config;

const void *puf_env_table_catch(int isa);
/* </cdef> */

#endif
