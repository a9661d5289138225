/* Tries what contracts.h says: the exit status is 0 if it holds.
 *
 *   cc -O2 -ffp-contract=off -Isrc verify/contracts.c -o contracts && ./contracts
 *
 * Every float from 0.625 to 1000 of both signs, and every 4096th below, where tanh(x) is x + x p with p of [-0.14, 0]. puf_finite looks
 * at the exponent alone: all 255 of them.
 */
#include "puffer/math.h"

enum { SMALL = 0x3F200000, LARGEST = 0x447A0000, INFINITE = 0x7F800000, EXPONENT = 0x00800000 }; /* bits of 0.625, 1000, ... */

static uint32_t wrong_tanh(uint32_t bits) {
    const float plus = puf_tanh(puf_from_bits(bits)), minus = puf_tanh(puf_from_bits(bits | 0x80000000u));
    return !((plus >= 0.0f) & (plus <= 1.0f)) | !((minus <= 0.0f) & (minus >= -1.0f));
}

int main(void) {
    uint32_t wrong = 0;
    for (uint32_t bits = 0; bits < SMALL; bits += 4096) { wrong += wrong_tanh(bits); }
    for (uint32_t bits = SMALL; bits <= LARGEST; bits++) { wrong += wrong_tanh(bits); }
    for (uint32_t bits = 0; bits < INFINITE; bits += EXPONENT) { wrong += !puf_finite(puf_from_bits(bits)); }
    return wrong != 0u;
}
