/* Threads that share out the tasks of a job, however they came to be: pool.c starts those of a host, a page its own workers.
 *
 * Needs atomic operations and sleep.h, nothing else. A worker that comes late, or never, holds nobody up: its share is taken by the others.
 */
#ifndef PUFFER_CREW_H
#define PUFFER_CREW_H

#include "puffer/exec.h"
#include "puffer/status.h"

typedef struct puf_crew puf_crew;

/* Bytes for a crew of `members`, the calling thread included; 0 unless members is in [1, PUF_MAX_THREADS]. */
size_t puf_crew_bytes(int32_t members);
/* A crew in which nobody works yet but the calling thread, in `mem` (64-byte aligned, stays in place until puf_crew_end).
 * PUF_ETHREAD if the system has no lock to give. */
int puf_crew_init(puf_crew **crew, void *mem, size_t bytes, int32_t members);
/* Nobody works in it any more. */
void puf_crew_end(puf_crew *crew);
/* The executor; member 0 is the thread that calls it. One job at a time. */
const puf_exec *puf_crew_exec(puf_crew *crew);
/* From now on workers of this term stay, those of others leave (0: all do). Between jobs, by the thread that gives them. */
void puf_crew_call(puf_crew *crew, uint32_t term);
/* The life of worker `number` in [1, members): takes tasks until its term (not 0) is over, which it may be already.
 * No two threads have the same number during a term. */
void puf_crew_work(puf_crew *crew, int32_t number, uint32_t term);
/* A worker died of a task, which nobody will finish: the thread that waits for it traps instead of waiting for ever. For workers whose
 * death does not end the process. */
void puf_crew_fail(puf_crew *crew);

#endif
