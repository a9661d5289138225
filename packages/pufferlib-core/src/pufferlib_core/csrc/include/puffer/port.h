/* Compilers and targets, hidden in one place.
 *
 * Freestanding: no libc header beyond <stdint.h>, <stddef.h> and <stdbool.h>.
 */
#ifndef PUFFER_PORT_H
#define PUFFER_PORT_H

#include <stddef.h>
#include <stdint.h>

#define PUF_ALIGN 64 /* bytes; one cache line and one 512-bit vector */

#if defined(_MSC_VER)
#define PUF_RESTRICT __restrict
#define PUF_INLINE static __forceinline
#define PUF_API __declspec(dllexport)
#define PUF_ALIGNED(n) __declspec(align(n))
#else
#define PUF_RESTRICT __restrict__
#define PUF_INLINE static inline __attribute__((always_inline, unused))
#define PUF_API __attribute__((visibility("default")))
#define PUF_ALIGNED(n) __attribute__((aligned(n)))
#endif

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(PUF_NO_SIMD)
#define PUF_X86 1
#else
#define PUF_X86 0
#endif

#if defined(__aarch64__) && !defined(_MSC_VER) && !defined(PUF_NO_SIMD)
#define PUF_NEON 1
#else
#define PUF_NEON 0
#endif

#if defined(__wasm_simd128__) && !defined(PUF_NO_SIMD)
#define PUF_WASM 1
#else
#define PUF_WASM 0
#endif

/* gcc and clang compile loops over independent elements to vectors; this states the independence. */
#if defined(__clang__)
#define PUF_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define PUF_IVDEP _Pragma("GCC ivdep")
#else
#define PUF_IVDEP
#endif

/* Rounds `bytes` up to whole cache lines. */
PUF_INLINE size_t puf_align_up(size_t bytes) { return (bytes + (PUF_ALIGN - 1)) & ~(size_t)(PUF_ALIGN - 1); }

/* memcpy and memset of our own, for targets without a C library. `dst` and `src` must not overlap. */
PUF_INLINE void puf_copy(void *dst, const void *src, size_t bytes) {
#if defined(__GNUC__) && !defined(PUF_FREESTANDING)
    __builtin_memcpy(dst, src, bytes);
#else
    unsigned char *to = (unsigned char *)dst;
    const unsigned char *from = (const unsigned char *)src;
    for (size_t i = 0; i < bytes; i++) { to[i] = from[i]; }
#endif
}

PUF_INLINE void puf_fill(void *dst, unsigned char byte, size_t bytes) {
#if defined(__GNUC__) && !defined(PUF_FREESTANDING)
    __builtin_memset(dst, byte, bytes);
#else
    unsigned char *to = (unsigned char *)dst;
    for (size_t i = 0; i < bytes; i++) { to[i] = byte; }
#endif
}

PUF_INLINE void puf_zero(void *dst, size_t bytes) { puf_fill(dst, 0, bytes); }

#endif
