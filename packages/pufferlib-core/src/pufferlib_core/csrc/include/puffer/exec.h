/* Parallel execution as an interface, so that the code that does the work does not know threads.
 *
 * The pool (pool.h) implements it on hosts; NULL means "run here, one after the other" and needs nothing.
 */
#ifndef PUFFER_EXEC_H
#define PUFFER_EXEC_H

#include "puffer/port.h"

/* `thread` is in [0, width): no two tasks run with the same number at the same time, so it names scratch memory. */
typedef void (*puf_task)(void *context, int32_t index, int32_t thread);

/* <cdef> */
enum { PUF_MAX_THREADS = 256 };
typedef struct puf_exec puf_exec;
/* </cdef> */

struct puf_exec {
    /* Calls task(context, i, thread) once for each i in [0, count), in any order and on any thread, and returns when all
     * have returned. Not reentrant: a task must not call `run` of the same executor. */
    void (*run)(const struct puf_exec *self, puf_task task, void *context, int32_t count);
    void *implementation;
    int32_t width; /* how many tasks can run at the same time, 1 .. PUF_MAX_THREADS */
};

PUF_INLINE int32_t puf_exec_width(const puf_exec *exec) { return exec != NULL ? exec->width : 1; }

PUF_INLINE void puf_exec_run(const puf_exec *exec, puf_task task, void *context, int32_t count) {
    if (exec != NULL && exec->width > 1 && count > 1) {
        exec->run(exec, task, context, count);
        return;
    }
    for (int32_t i = 0; i < count; i++) { task(context, i, 0); }
}

#endif
