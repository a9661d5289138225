/* Which instruction sets this processor has. */
#ifndef PUFFER_CPU_H
#define PUFFER_CPU_H

#include "puffer/port.h"

/* <cdef> */
typedef enum {
    PUF_ISA_SERIAL = 0, /* plain C, the reference; always usable */
    PUF_ISA_AVX2 = 1,   /* x86-64-v3: AVX2 + FMA */
    PUF_ISA_AVX512 = 2, /* x86-64-v4: AVX-512 F, BW, DQ, VL */
    PUF_ISA_NEON = 3,   /* aarch64, always usable there */
    PUF_ISA_WASM = 4    /* WebAssembly modules built with 128-bit vectors */
} puf_isa;
enum { PUF_ISA_COUNT = 5 };

/* 1 if this build holds the variant and this processor (and its operating system) can run it, else 0. */
int puf_isa_usable(int isa);
/* The best usable variant. */
int puf_isa_best(void);
/* "serial", "avx2", ...; NULL for a number that is none. */
const char *puf_isa_name(int isa);
/* </cdef> */

#endif
