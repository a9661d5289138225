#include "kernels.h"

#include "puffer/cpu.h"

extern const puf_kernels puf_kernels_serial;
#if PUF_X86
extern const puf_kernels puf_kernels_avx2, puf_kernels_avx512;
#endif
#if PUF_NEON
extern const puf_kernels puf_kernels_neon;
#endif
#if PUF_WASM
extern const puf_kernels puf_kernels_wasm;
#endif

const puf_kernels *puf_kernels_get(int isa) {
    if (!puf_isa_usable(isa)) { return NULL; }
    switch (isa) {
        case PUF_ISA_SERIAL: return &puf_kernels_serial;
#if PUF_X86
        case PUF_ISA_AVX2: return &puf_kernels_avx2;
        case PUF_ISA_AVX512: return &puf_kernels_avx512;
#endif
#if PUF_NEON
        case PUF_ISA_NEON: return &puf_kernels_neon;
#endif
#if PUF_WASM
        case PUF_ISA_WASM: return &puf_kernels_wasm;
#endif
        default: return NULL;
    }
}
