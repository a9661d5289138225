/* Remember a symbol, after the memory length task of bsuite (Osband et al. 2020): what a policy without memory cannot learn.
 *
 * The first observation shows one of `symbols` symbols (one-hot); then come `length` - 1 blank ones, and then one whose last number,
 * the question mark, is 1. The action taken there is the answer: reward 1 if it names the symbol, else 0; terminated. Other actions
 * do nothing. With length 0 symbol and question come together, and no memory is needed. A policy without memory earns
 * 1 / symbols on average for length >= 1.
 */
#ifndef PUFFER_MEMORY_H
#define PUFFER_MEMORY_H

#include "puffer/env.h"

/* <cdef> */
typedef struct {
    int32_t length, symbols;
} puf_memory_config;

const void *puf_env_table_memory(int isa);
/* </cdef> */

#endif
