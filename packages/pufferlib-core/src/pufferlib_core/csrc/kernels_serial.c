/* The plain C variant: the reference, and the only one on targets without a vector unit. */
#include "kernels.h"

#include "puffer/math.h"
#include "simd_serial.h"
#define KERNELS puf_kernels_serial
#include "kernels.inl"
