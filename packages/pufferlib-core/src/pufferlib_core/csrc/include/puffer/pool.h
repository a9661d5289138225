/* A persistent pool of threads behind the puf_exec interface (hosted: needs pthreads).
 *
 * Tasks are handed out one by one, the calling thread takes part, and between jobs a worker spins for some
 * microseconds before it sleeps: a barrier in a hot loop costs no system call, an idle pool costs no processor.
 */
#ifndef PUFFER_POOL_H
#define PUFFER_POOL_H

#include "puffer/exec.h"
#include "puffer/status.h"

/* <cdef> */
typedef struct puf_pool puf_pool;

/* Bytes for a pool of `threads` threads, the caller's included; 0 unless threads is in [1, PUF_MAX_THREADS]. */
size_t puf_pool_bytes(int32_t threads);
/* Starts threads - 1 workers in `mem` (64-byte aligned, stays in place until puf_pool_stop).
 * PUF_ETHREAD if a thread cannot be started (none is left behind). */
int puf_pool_start(puf_pool **pool, void *mem, size_t bytes, int32_t threads);
/* Ends and joins the workers. The memory is the caller's again. */
void puf_pool_stop(puf_pool *pool);
/* The executor to give to other functions; lives as long as the pool. One job at a time. */
const puf_exec *puf_pool_exec(puf_pool *pool);
/* </cdef> */

#endif
