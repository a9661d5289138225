/* The NEON variant; the baseline of aarch64, so that no target attribute is needed. */
#include "kernels.h"

#if PUF_NEON
#include <arm_neon.h>

#include "puffer/math.h"
#include "simd_neon.h"
#define KERNELS puf_kernels_neon
#include "kernels.inl"

#endif
