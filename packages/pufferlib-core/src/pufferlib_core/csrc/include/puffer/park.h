/* Waiting for words of memory that processes share (hosted: needs an operating system).
 *
 * Whoever sees a new value of a word also sees all that was written before it. On Linux a sleeper waits in a futex;
 * elsewhere it looks again after short sleeps.
 */
#ifndef PUFFER_PARK_H
#define PUFFER_PARK_H

#include "puffer/port.h"

/* <cdef> */
/* The value of a word, and all that was written before it was stored. */
uint32_t puf_load_acquire(const uint32_t *word);
/* Sleeps while *word == expected, at most timeout_ns (>= 0); a signal ends it early.
 * Returns 1 if the word has another value (acquired), else 0. */
int puf_park(uint32_t *word, uint32_t expected, int64_t timeout_ns);
/* Gives an order to `count` sleepers: stores count into *left, adds 1 to go[i * stride] for each and wakes it. */
void puf_post(uint32_t *go, int32_t stride, int32_t count, uint32_t *left);
/* Takes 1 from *left when an order is carried out; 0 wakes whoever sleeps there, so that one wait serves for all. */
void puf_done(uint32_t *left);
/* </cdef> */

#endif
