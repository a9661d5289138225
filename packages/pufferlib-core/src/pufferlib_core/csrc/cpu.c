#include "puffer/cpu.h"

#if PUF_X86 && (defined(__GNUC__) || defined(__clang__))
static int has_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
}
#else
static int has_avx2(void) { return 0; }
static int has_avx512(void) { return 0; }
#endif

int puf_isa_usable(int isa) {
    switch (isa) {
        case PUF_ISA_SERIAL: return 1;
        case PUF_ISA_AVX2: return has_avx2() != 0;
        case PUF_ISA_AVX512: return has_avx512() != 0;
        case PUF_ISA_NEON: return PUF_NEON;
        default: return 0;
    }
}

int puf_isa_best(void) {
    if (puf_isa_usable(PUF_ISA_AVX512)) { return PUF_ISA_AVX512; }
    if (puf_isa_usable(PUF_ISA_NEON)) { return PUF_ISA_NEON; }
    return puf_isa_usable(PUF_ISA_AVX2) ? PUF_ISA_AVX2 : PUF_ISA_SERIAL;
}

const char *puf_isa_name(int isa) {
    switch (isa) {
        case PUF_ISA_SERIAL: return "serial";
        case PUF_ISA_AVX2: return "avx2";
        case PUF_ISA_AVX512: return "avx512";
        case PUF_ISA_NEON: return "neon";
        default: return NULL;
    }
}
