/* What verify/klee.c uses of KLEE, so that it compiles without it; KLEE brings a header of this name. */
#ifndef KLEE_H
#define KLEE_H

#include <stddef.h>

void klee_make_symbolic(void *address, size_t bytes, const char *name);
void klee_abort(void) __attribute__((noreturn));
#define klee_assert(condition) ((condition) ? (void)0 : klee_abort())

#endif
