/* Sixteen lanes: AVX-512 F, BW, DQ, VL. */
#define VW 16
#define GEMM_ROWS 4
#define GEMM_VECS 4
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;
PUF_INLINE vf vload(const float *p) { return _mm512_load_ps(p); }
PUF_INLINE void vstore(float *p, vf x) { _mm512_store_ps(p, x); }
PUF_INLINE vi vloadi(const int32_t *p) { return _mm512_loadu_si512(p); }
PUF_INLINE void vstorei(int32_t *p, vi x) { _mm512_storeu_si512(p, x); }
PUF_INLINE vf vset(float x) { return _mm512_set1_ps(x); }
PUF_INLINE vi vseti(int32_t x) { return _mm512_set1_epi32(x); }
PUF_INLINE vf vfma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
PUF_INLINE vf vmin(vf a, vf b) { return _mm512_min_ps(a, b); }
PUF_INLINE vf vmax(vf a, vf b) { return _mm512_max_ps(a, b); }
PUF_INLINE vm vgt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
PUF_INLINE vm veqi(vi a, vi b) { return _mm512_cmpeq_epi32_mask(a, b); }
PUF_INLINE vf vselect(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
PUF_INLINE vi vselecti(vm m, vi a, vi b) { return _mm512_mask_blend_epi32(m, b, a); }
PUF_INLINE vf vroundv(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
PUF_INLINE vi vtoi(vf x) { return _mm512_cvtps_epi32(x); }
PUF_INLINE vf vtof(vi x) { return _mm512_cvtepi32_ps(x); }
PUF_INLINE vi vbits(vf x) { return _mm512_castps_si512(x); }
PUF_INLINE vf vfrombits(vi x) { return _mm512_castsi512_ps(x); }
PUF_INLINE vf vsqrt(vf x) { return _mm512_sqrt_ps(x); }
PUF_INLINE float vsum(vf x) { return _mm512_reduce_add_ps(x); }
PUF_INLINE vf vrecip(vf x) {
    const vf y = _mm512_rcp14_ps(x); /* 14 bits; one step doubles them */
    return _mm512_fnmadd_ps(_mm512_fmsub_ps(x, y, vset(1.0f)), y, y);
}
/* Adds lane i to lane i + 8 (then 4, 2, 1) while it packs rows: 15 additions for 16 rows. */
PUF_INLINE vf vsum_rows(const vf *r) {
    vf a[8], b[4], c[2];
    for (int i = 0; i < 8; i++) { /* (low 8 lanes of r[i], low 8 of r[i + 8]) + (high, high) */
        a[i] = _mm512_add_ps(_mm512_shuffle_f32x4(r[i], r[i + 8], 0x44), _mm512_shuffle_f32x4(r[i], r[i + 8], 0xEE));
    }
    for (int i = 0; i < 4; i++) { /* 128-bit lanes: rows i, i + 4, i + 8, i + 12 */
        b[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x88), _mm512_shuffle_f32x4(a[i], a[i + 4], 0xDD));
    }
    for (int i = 0; i < 2; i++) {
        c[i] = _mm512_add_ps(_mm512_shuffle_ps(b[i], b[i + 2], 0x44), _mm512_shuffle_ps(b[i], b[i + 2], 0xEE));
    }
    const vf d = _mm512_add_ps(_mm512_shuffle_ps(c[0], c[1], 0x88), _mm512_shuffle_ps(c[0], c[1], 0xDD));
    /* 128-bit lane g, element e of d: lanes hold groups (0: +0, 1: +8, 2: +4, 3: +12), elements (0: 0, 1: 2, 2: 1, 3: 3). */
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15), d);
}
#define VADDI(a, b) _mm512_add_epi32(a, b)
#define VANDI(a, b) _mm512_and_si512(a, b)
#define VSHLI(a, n) _mm512_slli_epi32(a, n)
#define VSRAI(a, n) _mm512_srai_epi32(a, n)
#define VANDM(a, b) ((vm)((a) & (b)))
#define VNOTM(a) ((vm)~(a))
PUF_INLINE __mmask16 vfirst(int32_t n) { return (__mmask16)(n >= VW ? 0xFFFFu : (1u << n) - 1u); }
PUF_INLINE vf vload_n(const float *p, int32_t n) { return _mm512_maskz_loadu_ps(vfirst(n), p); }
PUF_INLINE void vstore_n(float *p, vf x, int32_t n) { _mm512_mask_storeu_ps(p, vfirst(n), x); }
PUF_INLINE vm vflags_n(const uint8_t *p, int32_t n) {
    const __m128i bytes = _mm_maskz_loadu_epi8(vfirst(n), p);
    return _mm_test_epi8_mask(bytes, bytes);
}
PUF_INLINE vm vorm(vm a, vm b) { return (vm)(a | b); }
/* Writes first + lane for every lane of m, packed, and returns how many; may write all VW places. */
#define HAVE_VLIST 1
PUF_INLINE int32_t vlist(int32_t *to, vm m, int32_t first) {
    const vi lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(m, _mm512_add_epi32(lane, _mm512_set1_epi32(first))));
    return __builtin_popcount(m);
}
