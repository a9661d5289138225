#include "puffer/cpu.h"

#if PUF_X86 && defined(__GNUC__)
#include <cpuid.h>

/* 1 if the operating system keeps the registers in `mask` of XCR0 across switches. */
static int system_keeps(uint32_t mask) {
    uint32_t low, high;
    __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & mask) == mask;
}

static int has_avx2(void) {
    uint32_t a, b, c, d;
    const uint32_t fma_xsave_avx = 1u << 12 | 1u << 27 | 1u << 28, avx2_bmi2 = 1u << 3 | 1u << 5 | 1u << 8; /* and BMI1 */
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & fma_xsave_avx) != fma_xsave_avx || !system_keeps(0x6)) { return 0; }
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & avx2_bmi2) == avx2_bmi2;
}

static int has_avx512(void) {
    uint32_t a, b, c, d;
    const uint32_t f_dq_cd_bw_vl = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
    return has_avx2() && system_keeps(0xE6) && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & f_dq_cd_bw_vl) == f_dq_cd_bw_vl;
}

/* Asks the processor once: a virtual machine takes microseconds to answer. */
static int usable(int isa) {
    static int known; /* bit 0: it was asked; bit `isa`: it has it */
    int bits = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (bits == 0) {
        bits = 1 | has_avx2() << PUF_ISA_AVX2 | has_avx512() << PUF_ISA_AVX512;
        __atomic_store_n(&known, bits, __ATOMIC_RELAXED);
    }
    return bits >> isa & 1;
}
#else
static int usable(int isa) {
    (void)isa;
    return 0;
}
#endif

int puf_isa_usable(int isa) {
    switch (isa) {
        case PUF_ISA_SERIAL: return 1;
        case PUF_ISA_AVX2:
        case PUF_ISA_AVX512: return usable(isa);
        case PUF_ISA_NEON: return PUF_NEON;
        case PUF_ISA_WASM: return PUF_WASM;
        default: return 0;
    }
}

int puf_isa_best(void) {
    if (puf_isa_usable(PUF_ISA_AVX512)) { return PUF_ISA_AVX512; }
    if (puf_isa_usable(PUF_ISA_NEON)) { return PUF_ISA_NEON; }
    if (puf_isa_usable(PUF_ISA_WASM)) { return PUF_ISA_WASM; }
    return puf_isa_usable(PUF_ISA_AVX2) ? PUF_ISA_AVX2 : PUF_ISA_SERIAL;
}

const char *puf_isa_name(int isa) {
    switch (isa) {
        case PUF_ISA_SERIAL: return "serial";
        case PUF_ISA_AVX2: return "avx2";
        case PUF_ISA_AVX512: return "avx512";
        case PUF_ISA_NEON: return "neon";
        case PUF_ISA_WASM: return "wasm";
        default: return NULL;
    }
}
