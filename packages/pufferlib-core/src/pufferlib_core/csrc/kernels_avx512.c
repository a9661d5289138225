/* The AVX512 variant. */
#include "kernels.h"

#if PUF_X86
#include <immintrin.h>

#include "puffer/isa_begin_avx512.h"
#include "puffer/math.h"
#include "simd_avx512.h"
#define KERNELS puf_kernels_avx512
#include "kernels.inl"

#include "puffer/isa_end.h"
#endif
