/* Workers that somebody else starts, and sends from crew to crew while these have jobs. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "check.h"
#include "crew.h"

enum { MEMBERS = 3, CREWS = 2, TASKS = 50 };

typedef struct {
    puf_crew *crew[CREWS];
    /* Order k sends the workers to crew k % CREWS for term k + 1; they take every order in turn, however late. */
    atomic_uint orders;
    atomic_int end;
    atomic_int by[MEMBERS]; /* tasks that a member has done */
    atomic_int times[TASKS];
} office;

typedef struct {
    office *office;
    int32_t number;
    pthread_t thread;
} worker;

static void *serve(void *argument) {
    const worker *self = (const worker *)argument;
    office *o = self->office;
    for (uint32_t taken = 0;;) {
        if (taken < atomic_load(&o->orders)) {
            puf_crew_work(o->crew[taken % CREWS], self->number, taken + 1);
            taken++;
        } else if (atomic_load(&o->end)) {
            return NULL;
        } else {
            sched_yield();
        }
    }
}

static void count(void *context, int32_t index, int32_t thread) {
    office *o = (office *)context;
    CHECK(thread >= 0 && thread < MEMBERS);
    atomic_fetch_add(&o->by[thread], 1);
    atomic_fetch_add(&o->times[index], 1);
}

/* Task 0 ends after another member has done one: there must be somebody else. */
static void wait_for_another(void *context, int32_t index, int32_t thread) {
    office *o = (office *)context;
    count(context, index, thread);
    while (index == 0 && atomic_load(&o->by[0]) + atomic_load(&o->by[1]) + atomic_load(&o->by[2]) == atomic_load(&o->by[thread])) {
        sched_yield();
    }
}

static void run(office *o, int crew, puf_task task) {
    for (int i = 0; i < MEMBERS; i++) { atomic_store(&o->by[i], 0); }
    for (int i = 0; i < TASKS; i++) { atomic_store(&o->times[i], 0); }
    puf_exec_run(puf_crew_exec(o->crew[crew]), task, o, TASKS);
    for (int i = 0; i < TASKS; i++) { CHECK(atomic_load(&o->times[i]) == 1); }
}

static void send(office *o, uint32_t k) {
    puf_crew_call(o->crew[(k + 1) % CREWS], 0);
    puf_crew_call(o->crew[k % CREWS], k + 1);
    atomic_store(&o->orders, k + 1);
}

int main(int argc, char **argv) {
    const uint32_t rounds = argc > 1 ? 20 : 400;
    (void)argv;
    office o = {0};
    void *mem[CREWS];
    for (int k = 0; k < CREWS; k++) {
        mem[k] = block(puf_crew_bytes(MEMBERS));
        CHECK(puf_crew_init(&o.crew[k], mem[k], puf_crew_bytes(MEMBERS) - 1, MEMBERS) == PUF_ENOMEM);
        CHECK(puf_crew_init(&o.crew[k], mem[k], puf_crew_bytes(MEMBERS), MEMBERS) == PUF_OK);
    }
    CHECK(puf_crew_bytes(0) == 0 && puf_crew_bytes(PUF_MAX_THREADS + 1) == 0);
    run(&o, 0, count); /* nobody has come */
    CHECK(atomic_load(&o.by[0]) == TASKS);
    puf_crew_work(o.crew[0], 1, 7); /* a term that is over */
    worker workers[MEMBERS - 1];
    for (int32_t i = 0; i < MEMBERS - 1; i++) {
        workers[i] = (worker){.office = &o, .number = i + 1};
        CHECK(pthread_create(&workers[i].thread, NULL, serve, &workers[i]) == 0);
    }
    for (uint32_t k = 0; k < rounds; k++) {
        send(&o, k);
        for (uint32_t jobs = 0; jobs < k % 4; jobs++) { run(&o, (int)(k % CREWS), count); }
        if (k % 10 == 9) { run(&o, (int)(k % CREWS), wait_for_another); }
        if (k % 10 == 5) { run(&o, (int)((k + 1) % CREWS), count); } /* where they have left */
    }
    for (int k = 0; k < CREWS; k++) { puf_crew_call(o.crew[k], 0); }
    atomic_store(&o.end, 1);
    for (int32_t i = 0; i < MEMBERS - 1; i++) { pthread_join(workers[i].thread, NULL); }
    for (int k = 0; k < CREWS; k++) {
        puf_crew_end(o.crew[k]);
        free(mem[k]);
    }
    return failures != 0;
}
