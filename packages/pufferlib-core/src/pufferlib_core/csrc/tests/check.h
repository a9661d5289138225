/* The smallest test harness: CHECK counts failures, main returns them. */
#ifndef PUFFER_TESTS_CHECK_H
#define PUFFER_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>

static int failures;

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            failures++;                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                         \
    } while (0)

/* Zeroed memory on a cache line. */
static inline void *block(size_t bytes) {
    const size_t size = (bytes + 63) / 64 * 64 + 64;
    unsigned char *mem = (unsigned char *)aligned_alloc(64, size);
    if (mem == NULL) { exit(2); }
    for (size_t i = 0; i < size; i++) { mem[i] = 0; }
    return mem;
}

#endif
