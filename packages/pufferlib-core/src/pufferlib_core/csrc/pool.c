#include "puffer/pool.h"

#include <pthread.h>
#include <stdatomic.h>

/* How long a thread looks at a variable before it sleeps: about 20 microseconds. Mostly plain loads, because virtual machines
 * take a processor away from a guest that pauses again and again. */
enum { SPIN_TRIES = 16384, PAUSE_EVERY = 256 };

typedef struct {
    struct puf_pool *pool;
    pthread_t thread;
    int32_t number; /* 1 .. workers; the calling thread is 0 */
} worker;

struct puf_pool {
    puf_exec exec;
    int32_t workers;
    /* The job; written by the caller while every worker waits. */
    puf_task task;
    void *context;
    int32_t count;
    PUF_ALIGNED(64) atomic_int_fast32_t next;     /* next task to hand out */
    PUF_ALIGNED(64) atomic_uint_fast32_t job;      /* number of the job */
    PUF_ALIGNED(64) atomic_int_fast32_t running;  /* workers that have not finished the job */
    atomic_int_fast32_t stop;
    atomic_int_fast32_t sleeping; /* workers asleep or about to be */
    atomic_int_fast32_t waiting;  /* 1: the caller is asleep or about to be */
    PUF_ALIGNED(64) pthread_mutex_t lock; /* only for sleeping */
    pthread_cond_t wake;
    pthread_cond_t finished;
    worker worker[];
};

static void pause_briefly(void) {
#if PUF_X86
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void take_tasks(puf_pool *pool, int32_t thread) {
    for (;;) {
        const int32_t index = (int32_t)atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (index >= pool->count) { return; }
        pool->task(pool->context, index, thread);
    }
}

static void *work(void *argument) {
    const worker *self = (worker *)argument;
    puf_pool *pool = self->pool;
    uint_fast32_t seen = 0;
    for (;;) {
        uint_fast32_t job = seen;
        for (int32_t i = 0; i < SPIN_TRIES && job == seen; i++) {
            if (i % PAUSE_EVERY == 0) { pause_briefly(); }
            job = atomic_load_explicit(&pool->job, memory_order_acquire);
        }
        if (job == seen) {
            pthread_mutex_lock(&pool->lock);
            atomic_fetch_add(&pool->sleeping, 1);
            while ((job = atomic_load(&pool->job)) == seen) { pthread_cond_wait(&pool->wake, &pool->lock); }
            atomic_fetch_sub(&pool->sleeping, 1);
            pthread_mutex_unlock(&pool->lock);
        }
        seen = job;
        if (atomic_load_explicit(&pool->stop, memory_order_relaxed)) { return NULL; }
        take_tasks(pool, self->number);
        if (atomic_fetch_sub(&pool->running, 1) == 1 && atomic_load(&pool->waiting)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->finished);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

/* Sleeper and waker each write their own flag before they read the other's, in one total order (seq_cst), so that one of
 * them always sees the other and no lock is taken while everybody is awake. */
static void announce(puf_pool *pool) {
    atomic_fetch_add(&pool->job, 1);
    if (atomic_load(&pool->sleeping) == 0) { return; }
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static void run(const puf_exec *exec, puf_task task, void *context, int32_t count) {
    puf_pool *pool = (puf_pool *)exec->implementation;
    pool->task = task;
    pool->context = context;
    pool->count = count;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->running, pool->workers, memory_order_relaxed);
    announce(pool);
    take_tasks(pool, 0);
    for (int32_t i = 0; i < SPIN_TRIES; i++) {
        if (atomic_load_explicit(&pool->running, memory_order_acquire) == 0) { return; }
        if (i % PAUSE_EVERY == 0) { pause_briefly(); }
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->waiting, 1);
    while (atomic_load(&pool->running) != 0) { pthread_cond_wait(&pool->finished, &pool->lock); }
    atomic_store(&pool->waiting, 0);
    pthread_mutex_unlock(&pool->lock);
}

size_t puf_pool_bytes(int32_t threads) {
    if (threads < 1 || threads > PUF_MAX_THREADS) { return 0; }
    return puf_align_up(sizeof(puf_pool) + (size_t)(threads - 1) * sizeof(worker));
}

int puf_pool_start(puf_pool **out, void *mem, size_t bytes, int32_t threads) {
    if (out == NULL || mem == NULL || threads < 1 || threads > PUF_MAX_THREADS || ((uintptr_t)mem & (PUF_ALIGN - 1)) != 0) { return PUF_EINVAL; }
    if (bytes < puf_pool_bytes(threads)) { return PUF_ENOMEM; }
    puf_pool *pool = (puf_pool *)mem;
    puf_zero(pool, bytes);
    pool->exec.run = run;
    pool->exec.implementation = pool;
    pool->exec.width = threads;
    if (pthread_mutex_init(&pool->lock, NULL) != 0) { return PUF_ETHREAD; }
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->finished, NULL);
    for (int32_t i = 0; i < threads - 1; i++) {
        pool->worker[i].pool = pool;
        pool->worker[i].number = i + 1;
        if (pthread_create(&pool->worker[i].thread, NULL, work, &pool->worker[i]) != 0) {
            puf_pool_stop(pool);
            return PUF_ETHREAD;
        }
        pool->workers = i + 1;
    }
    *out = pool;
    return PUF_OK;
}

void puf_pool_stop(puf_pool *pool) {
    if (pool == NULL) { return; }
    atomic_store_explicit(&pool->stop, 1, memory_order_relaxed);
    announce(pool);
    for (int32_t i = 0; i < pool->workers; i++) { pthread_join(pool->worker[i].thread, NULL); }
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
}

const puf_exec *puf_pool_exec(puf_pool *pool) { return pool != NULL ? &pool->exec : NULL; }
