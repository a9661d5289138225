#include "puffer/pool.h"

#include <pthread.h>
#include <stdatomic.h>

/* How long a thread looks at a variable before it sleeps: about 20 microseconds. Mostly plain loads, because virtual machines
 * take a processor away from a guest that pauses again and again. */
enum { SPIN_TRIES = 16384, PAUSE_EVERY = 256 };

/* A thread's share of the tasks, [next, end) as end << 32 | next: one word, so that whoever takes from it sees which tasks it
 * belongs to, however late it comes. */
typedef struct {
    PUF_ALIGNED(64) atomic_uint_least64_t range;
    struct puf_pool *pool;
    pthread_t thread; /* not of number 0, the calling thread */
    int32_t number;
} member;

struct puf_pool {
    puf_exec exec;
    int32_t members; /* with the calling thread */
    /* The job; read only by who has taken a task of it, until which it cannot end. */
    puf_task task;
    void *context;
    PUF_ALIGNED(64) atomic_uint_fast32_t job;     /* its number */
    PUF_ALIGNED(64) atomic_int_fast32_t left;     /* tasks that have not returned */
    atomic_int_fast32_t stop;
    atomic_int_fast32_t sleeping; /* workers asleep or about to be */
    atomic_int_fast32_t waiting;  /* 1: the caller is asleep or about to be */
    PUF_ALIGNED(64) pthread_mutex_t lock; /* only for sleeping */
    pthread_cond_t wake;
    pthread_cond_t finished;
    member member[];
};

static void pause_briefly(void) {
#if PUF_X86
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Takes tasks from one share until it is empty; returns how many. */
static int32_t empty_share(puf_pool *pool, atomic_uint_least64_t *range, int32_t thread) {
    int32_t done = 0;
    for (;;) {
        uint64_t r = atomic_load_explicit(range, memory_order_relaxed); /* looking does not take the line from its owner */
        if ((uint32_t)r >= (uint32_t)(r >> 32)) { return done; }
        r = atomic_fetch_add_explicit(range, 1, memory_order_acquire);
        if ((uint32_t)r >= (uint32_t)(r >> 32)) { return done; }
        pool->task(pool->context, (int32_t)(uint32_t)r, thread);
        done++;
    }
}

/* A thread's own tasks, whose memory it had in the last job, too; then those of others who are not done. */
static void take_tasks(puf_pool *pool, int32_t thread) {
    int32_t done = 0;
    for (int32_t k = 0; k < pool->members; k++) {
        done += empty_share(pool, &pool->member[(thread + k) % pool->members].range, thread);
    }
    if (done > 0 && atomic_fetch_sub(&pool->left, done) == done && atomic_load(&pool->waiting)) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_signal(&pool->finished);
        pthread_mutex_unlock(&pool->lock);
    }
}

static void *work(void *argument) {
    const member *self = (member *)argument;
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
    atomic_store_explicit(&pool->left, count, memory_order_relaxed);
    for (int64_t k = 0; k < pool->members; k++) {
        const uint64_t first = (uint64_t)(count * k / pool->members), end = (uint64_t)(count * (k + 1) / pool->members);
        atomic_store_explicit(&pool->member[k].range, end << 32 | first, memory_order_release);
    }
    announce(pool);
    take_tasks(pool, 0);
    for (int32_t i = 0; i < SPIN_TRIES; i++) {
        if (atomic_load_explicit(&pool->left, memory_order_acquire) == 0) { return; }
        if (i % PAUSE_EVERY == 0) { pause_briefly(); }
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->waiting, 1);
    while (atomic_load(&pool->left) != 0) { pthread_cond_wait(&pool->finished, &pool->lock); }
    atomic_store(&pool->waiting, 0);
    pthread_mutex_unlock(&pool->lock);
}

size_t puf_pool_bytes(int32_t threads) {
    if (threads < 1 || threads > PUF_MAX_THREADS) { return 0; }
    return puf_align_up(sizeof(puf_pool) + (size_t)threads * sizeof(member));
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
    pool->members = 1;
    for (int32_t i = 1; i < threads; i++) {
        pool->member[i].pool = pool;
        pool->member[i].number = i;
        if (pthread_create(&pool->member[i].thread, NULL, work, &pool->member[i]) != 0) {
            puf_pool_stop(pool);
            return PUF_ETHREAD;
        }
        pool->members = i + 1;
    }
    *out = pool;
    return PUF_OK;
}

void puf_pool_stop(puf_pool *pool) {
    if (pool == NULL) { return; }
    atomic_store_explicit(&pool->stop, 1, memory_order_relaxed);
    announce(pool);
    for (int32_t i = 1; i < pool->members; i++) { pthread_join(pool->member[i].thread, NULL); }
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
}

const puf_exec *puf_pool_exec(puf_pool *pool) { return pool != NULL ? &pool->exec : NULL; }
