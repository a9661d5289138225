/* Elementary functions without libm: elementwise IEEE single operations, no FMA, no tables, no branches on data, so
 * that the result is bit-equal on every target and the loop around a call vectorises.
 *
 * | function   | range                    | largest error (units in the last place, all floats or a dense sample) |
 * | puf_sqrt   | x >= 0                   | 0.5 (correctly rounded)                                               |
 * | puf_sin    | |x| <= 8192              | 1.5e-7 absolute                                                       |
 * | puf_exp    | all; 0 below -87.3, inf above 88.7 | 1.5 ulp                                                     |
 * | puf_log    | normal x > 0             | 1.5 ulp                                                               |
 * | puf_tanh   | all                      | 4 ulp                                                                 |
 */
#ifndef PUFFER_MATH_H
#define PUFFER_MATH_H

#include "puffer/port.h"

#if defined(_MSC_VER) && defined(_M_X64)
#include <xmmintrin.h>
#endif

typedef union {
    float f;
    uint32_t u;
    int32_t i;
} puf_bits;

PUF_INLINE float puf_from_bits(uint32_t u) {
    puf_bits b;
    b.u = u;
    return b.f;
}

PUF_INLINE uint32_t puf_to_bits(float f) {
    puf_bits b;
    b.f = f;
    return b.u;
}

PUF_INLINE float puf_abs(float x) { return puf_from_bits(puf_to_bits(x) & 0x7FFFFFFFu); }
PUF_INLINE float puf_min(float a, float b) { return a < b ? a : b; }
PUF_INLINE float puf_max(float a, float b) { return a > b ? a : b; }
/* NaN passes through. */
PUF_INLINE float puf_clamp(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}
/* 1 for finite x. */
PUF_INLINE int puf_finite(float x) { return (puf_to_bits(x) & 0x7F800000u) != 0x7F800000u; }

/* Square root, correctly rounded, digit by digit: for targets without an instruction for it. */
PUF_INLINE float puf_sqrt_digits(float x) {
    uint32_t bits = puf_to_bits(x);
    if (bits == 0x80000000u || (bits & 0x7FFFFFFFu) == 0u) { return x; }
    if (bits >= 0x7F800000u) { return bits == 0x7F800000u ? x : puf_from_bits(0x7FC00000u); }
    int32_t exponent = (int32_t)(bits >> 23);
    uint32_t mantissa = bits & 0x7FFFFFu;
    if (exponent == 0) {
        exponent = 1;
        while ((mantissa & 0x800000u) == 0u) {
            mantissa <<= 1;
            exponent--;
        }
    }
    mantissa |= 0x800000u;
    exponent -= 127;
    if (exponent & 1) {
        mantissa <<= 1;
        exponent--;
    }
    /* 25 result bits of sqrt(mantissa * 2^25), one at a time; the last decides the rounding (a tie cannot occur). */
    uint32_t remainder = mantissa << 1;
    uint32_t root = 0, sum = 0;
    for (uint32_t bit = 0x01000000u; bit != 0u; bit >>= 1) {
        uint32_t trial = sum + bit;
        if (trial <= remainder) {
            sum = trial + bit;
            remainder -= trial;
            root += bit;
        }
        remainder <<= 1;
    }
    root = (root + (root & 1u)) >> 1;
    return puf_from_bits(root + ((uint32_t)((exponent >> 1) + 126) << 23));
}

/* Square root, correctly rounded. */
PUF_INLINE float puf_sqrt(float x) {
#if defined(_MSC_VER) && defined(_M_X64)
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
#elif defined(__x86_64__) || defined(__aarch64__) || defined(__wasm__)
    return __builtin_sqrtf(x);
#else
    return puf_sqrt_digits(x);
#endif
}

/* Nearest integer, ties to even, as a float; |x| < 2^22. */
PUF_INLINE float puf_round(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it drops the fraction */
    return (x + magic) - magic;
}

/* sin and cos on [-pi/4, pi/4]: minimax polynomials. Bit-equal to puf_sincos there. */
PUF_INLINE void puf_sincos_small(float r, float *sin_r, float *cos_r) {
    const float r2 = r * r;
    *sin_r = r + r * r2 * (-1.6666654611e-1f + r2 * (8.3321608736e-3f + r2 * -1.9515295891e-4f));
    *cos_r =
        (1.0f - 0.5f * r2) + r2 * r2 * (4.166664568298827e-2f + r2 * (-1.388731625493765e-3f + r2 * 2.443315711809948e-5f));
}

/* sin and cos together: reduction by pi/2 in three parts (Cody and Waite). */
PUF_INLINE void puf_sincos(float x, float *sin_x, float *cos_x) {
    const float n = puf_round(x * 0.636619772367581343f);
    float r = x - n * 1.5703125f, s, c;
    r = r - n * 4.837512969970703125e-4f;
    r = r - n * 7.54978995489188216e-8f;
    puf_sincos_small(r, &s, &c);
    const uint32_t quadrant = (uint32_t)(int32_t)n;
    const uint32_t swap = 0u - (quadrant & 1u);
    const uint32_t sb = puf_to_bits(s), cb = puf_to_bits(c);
    *sin_x = puf_from_bits(((sb & ~swap) | (cb & swap)) ^ ((quadrant & 2u) << 30));
    *cos_x = puf_from_bits(((cb & ~swap) | (sb & swap)) ^ (((quadrant + 1u) & 2u) << 30));
}

/* e^x: 2^n * polynomial on [-ln 2 / 2, ln 2 / 2]. */
PUF_INLINE float puf_exp(float x) {
    const float z = puf_clamp(x, -87.3f, 88.7f);
    const float n = puf_round(z * 1.44269504088896341f);
    float r = z - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * (r * r) + r) + 1.0f;
    /* The scale 2^n in two halves, because 2^128 is not a float. */
    const int32_t whole = (int32_t)n;
    const int32_t half = whole >> 1;
    float y = p * puf_from_bits((uint32_t)(half + 127) << 23);
    y = y * puf_from_bits((uint32_t)(whole - half + 127) << 23);
    y = x < -87.3f ? 0.0f : y;
    y = x > 88.7228f ? puf_from_bits(0x7F800000u) : y;
    return x != x ? x : y;
}

/* Natural logarithm: exponent * ln 2 + polynomial on [sqrt(1/2), sqrt(2)]. x > 0 and normal. */
PUF_INLINE float puf_log(float x) {
    const uint32_t bits = puf_to_bits(x);
    const uint32_t shifted = bits - 0x3F3504F3u; /* sqrt(1/2) */
    const int32_t exponent = (int32_t)shifted >> 23;
    const float m = puf_from_bits((shifted & 0x7FFFFFu) + 0x3F3504F3u) - 1.0f;
    const float e = (float)exponent;
    const float m2 = m * m;
    float p = 7.0376836292e-2f;
    p = p * m + -1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m + -1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m + -1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m + -2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    float y = m * m2 * p;
    y = y + e * -2.12194440e-4f;
    y = y - 0.5f * m2;
    return (m + y) + e * 0.693359375f;
}

/* Hyperbolic tangent: odd polynomial below 0.625, 1 - 2 / (e^{2|x|} + 1) above. */
PUF_INLINE float puf_tanh(float x) {
    const float a = puf_abs(x);
    const float x2 = x * x;
    float p = -5.70498872745e-3f;
    p = p * x2 + 2.06390887954e-2f;
    p = p * x2 + -5.37397155531e-2f;
    p = p * x2 + 1.33314422036e-1f;
    p = p * x2 + -3.33332819422e-1f;
    const float small = x + x * (x2 * p);
    const float large = 1.0f - 2.0f / (puf_exp(puf_min(2.0f * a, 40.0f)) + 1.0f);
    const float y = puf_from_bits(puf_to_bits(large) | (puf_to_bits(x) & 0x80000000u));
    const float chosen = a < 0.625f ? small : y;
    return x != x ? x : chosen;
}

/* A number squashed into [low, high]: see puf_squash in dist.h. */
PUF_INLINE float puf_squashed(float x, float low, float high) {
    const float middle = 0.5f * low + 0.5f * high, reach = 0.5f * high - 0.5f * low;
    return puf_clamp(middle + reach * puf_tanh(x), low, high);
}

/* <cdef> */
/* Elementwise over n floats, for tests and for callers outside C; out may equal x. */
int puf_math_map(const char *function, const float *x, float *out, int64_t n);
/* </cdef> */

#endif
