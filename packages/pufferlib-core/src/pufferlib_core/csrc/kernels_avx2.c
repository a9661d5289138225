/* The AVX2 variant. */
#include "kernels.h"

#if PUF_X86
#include <immintrin.h>

#include "puffer/isa_begin_avx2.h"
#include "puffer/math.h"
#include "simd_avx2.h"
#define KERNELS puf_kernels_avx2
#include "kernels.inl"

#include "puffer/isa_end.h"
#endif
