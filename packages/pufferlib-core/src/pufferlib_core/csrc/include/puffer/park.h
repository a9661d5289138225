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
/* Gives an order to `count` workers: adds count to *left, and 1 to go[i * stride] for each of them, which it wakes. */
void puf_post(uint32_t *go, int32_t stride, int32_t count, uint32_t *left);
/* An order is carried out: stores its number into *done and takes 1 from left[0]. Wakes whoever sleeps in puf_await there
 * if that makes it the number that is awaited, so that one wake-up serves however many are waited for. */
void puf_done(uint32_t *done, uint32_t number, uint32_t *left);
/* Sleeps while left[0] > at_most, at most timeout_ns (>= 0); a signal ends it early. left[1] tells the workers what is
 * awaited. One thread may wait and post. Returns 1 if at most that many orders are left, else 0. */
int puf_await(uint32_t *left, uint32_t at_most, int64_t timeout_ns);
/* </cdef> */

#endif
