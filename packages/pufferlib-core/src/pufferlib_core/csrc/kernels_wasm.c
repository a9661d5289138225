/* The variant for WebAssembly with 128-bit vectors, which a module has or has not as a whole. */
#include "kernels.h"

#if PUF_WASM
#include <wasm_simd128.h>

#include "puffer/math.h"
#include "simd_wasm.h"
#define KERNELS puf_kernels_wasm
#include "kernels.inl"

#endif
