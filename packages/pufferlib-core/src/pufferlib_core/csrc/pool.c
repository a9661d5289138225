#include "puffer/pool.h"

#include <pthread.h>

#include "crew.h"

enum { TERM = 1 }; /* the only one: workers stay as long as the pool */

typedef struct {
    puf_crew *crew;
    pthread_t thread;
    int32_t number;
} worker;

struct puf_pool {
    puf_crew *crew;
    int32_t workers; /* that have been started */
    worker worker[];
};

static void *work(void *argument) {
    const worker *self = (const worker *)argument;
    puf_crew_work(self->crew, self->number, TERM);
    return NULL;
}

/* Of the pool without its crew, which lies behind it. */
static size_t own_bytes(int32_t threads) { return puf_align_up(sizeof(puf_pool) + (size_t)threads * sizeof(worker)); }

size_t puf_pool_bytes(int32_t threads) {
    const size_t crew = puf_crew_bytes(threads);
    return crew > 0 ? own_bytes(threads) + crew : 0;
}

int puf_pool_start(puf_pool **out, void *mem, size_t bytes, int32_t threads) {
    const size_t need = puf_pool_bytes(threads);
    if (out == NULL || mem == NULL || need == 0) { return PUF_EINVAL; }
    if (bytes < need) { return PUF_ENOMEM; }
    puf_pool *pool = (puf_pool *)mem;
    const size_t own = own_bytes(threads);
    puf_crew *crew;
    const int status = puf_crew_init(&crew, (unsigned char *)mem + own, bytes - own, threads);
    if (status != PUF_OK) { return status; }
    pool->crew = crew;
    pool->workers = 0;
    puf_crew_call(crew, TERM);
    for (int32_t i = 1; i < threads; i++) {
        worker *next = &pool->worker[pool->workers];
        next->crew = crew;
        next->number = i;
        if (pthread_create(&next->thread, NULL, work, next) != 0) {
            puf_pool_stop(pool);
            return PUF_ETHREAD;
        }
        pool->workers++;
    }
    *out = pool;
    return PUF_OK;
}

void puf_pool_stop(puf_pool *pool) {
    if (pool == NULL) { return; }
    puf_crew_call(pool->crew, 0);
    for (int32_t i = 0; i < pool->workers; i++) { pthread_join(pool->worker[i].thread, NULL); }
    puf_crew_end(pool->crew);
}

const puf_exec *puf_pool_exec(puf_pool *pool) { return pool != NULL ? puf_crew_exec(pool->crew) : NULL; }
