#define _GNU_SOURCE /* syscall */
#include "puffer/park.h"

#include <time.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* How long to look before sleeping: one or two microseconds. More would take the processor from whoever is waited for. */
enum { SPIN_TRIES = 1024 };
enum { NAP_NS = 50000, NS = 1000000000 };

uint32_t puf_load_acquire(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

static struct timespec time_of(int64_t ns) {
    const struct timespec result = {.tv_sec = (time_t)(ns / NS), .tv_nsec = (long)(ns % NS)};
    return result;
}

/* May return early for any reason: the caller looks at the word again. */
static void sleep_at(uint32_t *word, uint32_t expected, int64_t timeout_ns) {
#if defined(__linux__)
    const struct timespec limit = time_of(timeout_ns); /* without FUTEX_PRIVATE_FLAG: processes share the word */
    syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, NULL, 0);
#else
    const struct timespec nap = time_of(NAP_NS);
    for (int64_t slept = 0; slept < timeout_ns && puf_load_acquire(word) == expected; slept += NAP_NS) {
        if (nanosleep(&nap, NULL) != 0) { return; } /* a signal */
    }
#endif
}

int puf_park(uint32_t *word, uint32_t expected, int64_t timeout_ns) {
    for (int32_t i = 0; i < SPIN_TRIES; i++) {
        if (puf_load_acquire(word) != expected) { return 1; }
    }
    sleep_at(word, expected, timeout_ns);
    return puf_load_acquire(word) != expected;
}

static void wake(uint32_t *word) {
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
#else
    (void)word;
#endif
}

void puf_post(uint32_t *go, int32_t stride, int32_t count, uint32_t *left) {
    __atomic_fetch_add(left, (uint32_t)count, __ATOMIC_RELEASE);
    for (int32_t i = 0; i < count; i++) {
        uint32_t *word = go + (size_t)i * (size_t)stride;
        __atomic_fetch_add(word, 1, __ATOMIC_RELEASE);
        wake(word);
    }
}

/* Sequentially consistent, like puf_await: either the last worker sees what is awaited, or the parent what is left. */
void puf_done(uint32_t *done, uint32_t number, uint32_t *left) {
    __atomic_store_n(done, number, __ATOMIC_RELEASE);
    const uint32_t now = __atomic_sub_fetch(left, 1, __ATOMIC_SEQ_CST);
    if (now == __atomic_load_n(left + 1, __ATOMIC_SEQ_CST)) { wake(left); }
}

int puf_await(uint32_t *left, uint32_t at_most, int64_t timeout_ns) {
    __atomic_store_n(left + 1, at_most, __ATOMIC_SEQ_CST);
    for (int32_t i = 0; i < SPIN_TRIES; i++) {
        if (puf_load_acquire(left) <= at_most) { return 1; }
    }
    uint32_t now = __atomic_load_n(left, __ATOMIC_SEQ_CST);
    for (uint32_t before = now + 1; now > at_most && now != before; now = __atomic_load_n(left, __ATOMIC_SEQ_CST)) {
        before = now; /* still the same after the sleep: the time is over, or a signal came */
        sleep_at(left, now, timeout_ns);
    }
    return now <= at_most;
}
