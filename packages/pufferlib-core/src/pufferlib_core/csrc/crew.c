#include "crew.h"

#include "sleep.h"

/* How long a thread looks at a variable before it sleeps: about 20 microseconds. Mostly plain loads, because virtual machines
 * take a processor away from a guest that pauses again and again. */
enum { SPIN_TRIES = 16384, PAUSE_EVERY = 256 };
#define FAILED 0x80000000u /* a bit of `left`, far above any number of tasks */

/* A member's share of the tasks, [next, end) as end << 32 | next: one word, so that whoever takes from it sees which tasks it
 * belongs to, however late it comes. */
typedef struct {
    PUF_ALIGNED(64) uint64_t range;
} share;

struct puf_crew {
    puf_exec exec;
    int32_t members; /* with the calling thread */
    /* The job; read only by who has taken a task of it, until which it cannot end. */
    puf_task task;
    void *context;
    PUF_ALIGNED(64) uint32_t job;  /* its number */
    uint32_t term;                 /* workers of another one leave */
    PUF_ALIGNED(64) uint32_t left; /* tasks that have not returned */
    PUF_ALIGNED(64) puf_bed idle;  /* of workers, until there is a job */
    puf_bed waiting;               /* of the caller, until none is left */
    share share[];
};

static void pause_briefly(void) {
#if PUF_X86
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Takes tasks from one share until it is empty; returns how many. */
static uint32_t empty_share(puf_crew *crew, uint64_t *range, int32_t member) {
    uint32_t done = 0;
    for (;;) {
        uint64_t r = __atomic_load_n(range, __ATOMIC_RELAXED); /* looking does not take the line from its owner */
        if ((uint32_t)r >= (uint32_t)(r >> 32)) { return done; }
        r = __atomic_fetch_add(range, 1, __ATOMIC_ACQUIRE);
        if ((uint32_t)r >= (uint32_t)(r >> 32)) { return done; }
        crew->task(crew->context, (int32_t)(uint32_t)r, member);
        done++;
    }
}

/* A member's own tasks, whose memory it had in the last job, too; then those of others who are not done. */
static void take_tasks(puf_crew *crew, int32_t member) {
    uint32_t done = 0;
    for (int32_t k = 0; k < crew->members; k++) {
        done += empty_share(crew, &crew->share[(member + k) % crew->members].range, member);
    }
    if (done > 0 && __atomic_sub_fetch(&crew->left, done, __ATOMIC_SEQ_CST) == 0) { puf_bed_wake(&crew->waiting, &crew->left); }
}

/* The next value of a word: looks for a while, then sleeps. */
static uint32_t await_change(puf_bed *bed, uint32_t *word, uint32_t expected) {
    for (int32_t i = 0; i < SPIN_TRIES; i++) {
        if (i % PAUSE_EVERY == 0) { pause_briefly(); }
        const uint32_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE);
        if (now != expected) { return now; }
    }
    return puf_bed_sleep(bed, word, expected);
}

void puf_crew_work(puf_crew *crew, int32_t number, uint32_t term) {
    uint32_t job = __atomic_load_n(&crew->job, __ATOMIC_ACQUIRE); /* before the term: puf_crew_call writes that one first */
    while (__atomic_load_n(&crew->term, __ATOMIC_RELAXED) == term) {
        take_tasks(crew, number);
        job = await_change(&crew->idle, &crew->job, job);
    }
}

/* There is something new for the workers. */
static void announce(puf_crew *crew) {
    __atomic_fetch_add(&crew->job, 1, __ATOMIC_SEQ_CST);
    puf_bed_wake(&crew->idle, &crew->job);
}

void puf_crew_call(puf_crew *crew, uint32_t term) {
    __atomic_store_n(&crew->term, term, __ATOMIC_RELAXED);
    announce(crew);
}

static void run(const puf_exec *exec, puf_task task, void *context, int32_t count) {
    puf_crew *crew = (puf_crew *)exec->implementation;
    crew->task = task;
    crew->context = context;
    __atomic_store_n(&crew->left, (uint32_t)count, __ATOMIC_RELAXED);
    for (int64_t k = 0; k < crew->members; k++) {
        const uint64_t first = (uint64_t)(count * k / crew->members), end = (uint64_t)(count * (k + 1) / crew->members);
        __atomic_store_n(&crew->share[k].range, end << 32 | first, __ATOMIC_RELEASE);
    }
    announce(crew);
    take_tasks(crew, 0);
    uint32_t left = __atomic_load_n(&crew->left, __ATOMIC_ACQUIRE);
    while (left != 0) {
        if ((left & FAILED) != 0) { __builtin_trap(); }
        left = await_change(&crew->waiting, &crew->left, left);
    }
}

void puf_crew_fail(puf_crew *crew) {
    __atomic_fetch_or(&crew->left, FAILED, __ATOMIC_SEQ_CST);
    puf_bed_wake(&crew->waiting, &crew->left);
}

size_t puf_crew_bytes(int32_t members) {
    if (members < 1 || members > PUF_MAX_THREADS) { return 0; }
    return puf_align_up(sizeof(puf_crew) + (size_t)members * sizeof(share));
}

int puf_crew_init(puf_crew **out, void *mem, size_t bytes, int32_t members) {
    const size_t need = puf_crew_bytes(members);
    if (out == NULL || mem == NULL || need == 0 || ((uintptr_t)mem & (PUF_ALIGN - 1)) != 0) { return PUF_EINVAL; }
    if (bytes < need) { return PUF_ENOMEM; }
    puf_crew *crew = (puf_crew *)mem;
    puf_zero(crew, need);
    crew->exec.run = run;
    crew->exec.implementation = crew;
    crew->exec.width = members;
    crew->members = members;
    if (!puf_bed_init(&crew->idle)) { return PUF_ETHREAD; }
    if (!puf_bed_init(&crew->waiting)) {
        puf_bed_end(&crew->idle);
        return PUF_ETHREAD;
    }
    *out = crew;
    return PUF_OK;
}

void puf_crew_end(puf_crew *crew) {
    puf_bed_end(&crew->waiting);
    puf_bed_end(&crew->idle);
}

const puf_exec *puf_crew_exec(puf_crew *crew) { return &crew->exec; }
