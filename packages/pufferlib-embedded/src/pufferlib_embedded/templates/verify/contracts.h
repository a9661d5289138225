/* What eva.c takes for granted of two functions of math.h; contracts.c tries them. */
#ifndef VERIFY_CONTRACTS_H
#define VERIFY_CONTRACTS_H

#include <string.h>

/* Of these Frama-C has contracts of its own. */
#define __builtin_memcpy memcpy
#define __builtin_memset memset

/*@ requires \is_finite(x) && -1000.0 <= x <= 1000.0;
    assigns \result \from x;
    ensures \is_finite(\result) && -1.0 <= \result <= 1.0; */
static inline float puf_tanh(float x);

/*@ requires \is_finite(x);
    assigns \result \from x;
    ensures \result == 1; */
static inline int puf_finite(float x);

#endif
