/* Waiting for a word of memory that processes share (hosted: needs an operating system).
 *
 * The waker stores a new value with puf_store_release and calls puf_unpark; the sleeper then sees everything that was
 * written before. On Linux this is a futex; elsewhere the sleeper looks again after short sleeps.
 */
#ifndef PUFFER_PARK_H
#define PUFFER_PARK_H

#include "puffer/port.h"

/* <cdef> */
/* The value of a word, and all that was written before it was stored. */
uint32_t puf_load_acquire(const uint32_t *word);
/* Stores a value, after everything written so far. */
void puf_store_release(uint32_t *word, uint32_t value);
/* Sleeps while *word == expected, at most timeout_ns (>= 0); a signal ends it early.
 * Returns 1 if the word has another value (acquired), else 0. */
int puf_park(uint32_t *word, uint32_t expected, int64_t timeout_ns);
/* Wakes whoever sleeps at the word, in any process that maps its memory. */
void puf_unpark(uint32_t *word);
/* </cdef> */

#endif
