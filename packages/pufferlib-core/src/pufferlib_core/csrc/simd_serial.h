/* One lane: plain C. */
#define VW 1
#define GEMM_ROWS 4
#define GEMM_VECS 4
typedef float vf;
typedef int32_t vi;
typedef uint32_t vm; /* all ones or 0 */
PUF_INLINE vf vload(const float *p) { return *p; }
PUF_INLINE void vstore(float *p, vf x) { *p = x; }
PUF_INLINE vi vloadi(const int32_t *p) { return *p; }
PUF_INLINE void vstorei(int32_t *p, vi x) { *p = x; }
PUF_INLINE vf vset(float x) { return x; }
PUF_INLINE vi vseti(int32_t x) { return x; }
PUF_INLINE vf vfma(vf a, vf b, vf c) { return a * b + c; }
PUF_INLINE vf vmin(vf a, vf b) { return a < b ? a : b; }
PUF_INLINE vf vmax(vf a, vf b) { return a > b ? a : b; }
PUF_INLINE vm vgt(vf a, vf b) { return 0u - (uint32_t)(a > b); }
PUF_INLINE vm veqi(vi a, vi b) { return 0u - (uint32_t)(a == b); }
PUF_INLINE vf vselect(vm m, vf a, vf b) { return m ? a : b; }
PUF_INLINE vi vselecti(vm m, vi a, vi b) { return m ? a : b; }
PUF_INLINE vf vroundv(vf x) { return puf_round(x); }
PUF_INLINE vi vtoi(vf x) { return (int32_t)x; }
PUF_INLINE vf vtof(vi x) { return (float)x; }
PUF_INLINE vi vbits(vf x) { return (int32_t)puf_to_bits(x); }
PUF_INLINE vf vfrombits(vi x) { return puf_from_bits((uint32_t)x); }
PUF_INLINE vf vsqrt(vf x) { return puf_sqrt(x); }
PUF_INLINE float vsum(vf x) { return x; }
/* 1 / x to the last few bits. */
PUF_INLINE vf vrecip(vf x) { return 1.0f / x; }
/* out[r] = sum of the lanes of rows[r], r in [0, VW), each with the same tree of additions. */
PUF_INLINE vf vsum_rows(const vf *rows) { return rows[0]; }
PUF_INLINE vi vaddi(vi a, vi b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
#define VADDI(a, b) vaddi(a, b)
#define VANDI(a, b) ((a) & (b))
#define VSHLI(a, n) ((int32_t)((uint32_t)(a) << (n)))
#define VSRAI(a, n) ((a) >> (n))
#define VANDM(a, b) ((a) & (b))
#define VNOTM(a) (~(a))
/* Reads and writes of the first n lanes, unaligned; the others are 0 and are not touched. */
PUF_INLINE vf vload_n(const float *p, int32_t n) { return n > 0 ? *p : 0.0f; }
PUF_INLINE void vstore_n(float *p, vf x, int32_t n) {
    if (n > 0) { *p = x; }
}
/* Lanes whose byte is not 0. */
PUF_INLINE vm vflags_n(const uint8_t *p, int32_t n) { return n > 0 && *p ? 0xFFFFFFFFu : 0u; }
PUF_INLINE vm vorm(vm a, vm b) { return a | b; }
