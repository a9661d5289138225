/* Sleeping at a word of memory until it changes: the only thing that the threads of a crew ask of a system. */
#ifndef PUFFER_SLEEP_H
#define PUFFER_SLEEP_H

#include "puffer/port.h"

#if defined(__wasm__)
typedef struct {
    uint32_t sleepers;
} puf_bed;

PUF_INLINE int puf_bed_init(puf_bed *bed) {
    bed->sleepers = 0;
    return 1;
}
PUF_INLINE void puf_bed_end(puf_bed *bed) { (void)bed; }
PUF_INLINE void puf_bed_lock(puf_bed *bed) { (void)bed; }
PUF_INLINE void puf_bed_unlock(puf_bed *bed) { (void)bed; }
PUF_INLINE void puf_bed_rest(puf_bed *bed, uint32_t *word, uint32_t now) {
    (void)bed;
    (void)__builtin_wasm_memory_atomic_wait32((int *)(void *)word, (int)now, -1); /* returns at once if it is another one */
}
PUF_INLINE void puf_bed_rouse(puf_bed *bed, uint32_t *word) {
    (void)bed;
    (void)__builtin_wasm_memory_atomic_notify((int *)(void *)word, UINT32_MAX);
}
#else
#include <pthread.h>

typedef struct {
    uint32_t sleepers;
    pthread_mutex_t lock; /* only for sleeping */
    pthread_cond_t changed;
} puf_bed;

/* 0 if the system has no lock to give. */
PUF_INLINE int puf_bed_init(puf_bed *bed) {
    bed->sleepers = 0;
    if (pthread_mutex_init(&bed->lock, NULL) != 0) { return 0; }
    if (pthread_cond_init(&bed->changed, NULL) == 0) { return 1; }
    pthread_mutex_destroy(&bed->lock);
    return 0;
}
PUF_INLINE void puf_bed_end(puf_bed *bed) {
    pthread_cond_destroy(&bed->changed);
    pthread_mutex_destroy(&bed->lock);
}
PUF_INLINE void puf_bed_lock(puf_bed *bed) { pthread_mutex_lock(&bed->lock); }
PUF_INLINE void puf_bed_unlock(puf_bed *bed) { pthread_mutex_unlock(&bed->lock); }
PUF_INLINE void puf_bed_rest(puf_bed *bed, uint32_t *word, uint32_t now) {
    (void)word;
    (void)now;
    pthread_cond_wait(&bed->changed, &bed->lock);
}
PUF_INLINE void puf_bed_rouse(puf_bed *bed, uint32_t *word) {
    (void)word;
    pthread_cond_broadcast(&bed->changed);
}
#endif

/* Sleeps while *word is `expected`; returns the new value and all that was written before it. Who changes a word calls
 * puf_bed_wake after. Sleeper and waker each write before they read what the other one writes, in one total order (seq_cst),
 * so that one of them always sees the other, and no lock is taken while everybody is awake. */
PUF_INLINE uint32_t puf_bed_sleep(puf_bed *bed, uint32_t *word, uint32_t expected) {
    uint32_t now;
    puf_bed_lock(bed);
    __atomic_fetch_add(&bed->sleepers, 1, __ATOMIC_SEQ_CST);
    while ((now = __atomic_load_n(word, __ATOMIC_SEQ_CST)) == expected) { puf_bed_rest(bed, word, now); }
    __atomic_fetch_sub(&bed->sleepers, 1, __ATOMIC_SEQ_CST);
    puf_bed_unlock(bed);
    return now;
}

/* Wakes whoever sleeps at a word, which was changed by a seq_cst operation. */
PUF_INLINE void puf_bed_wake(puf_bed *bed, uint32_t *word) {
    if (__atomic_load_n(&bed->sleepers, __ATOMIC_SEQ_CST) == 0) { return; }
    puf_bed_lock(bed);
    puf_bed_rouse(bed, word);
    puf_bed_unlock(bed);
}

#endif
