/* Eight lanes: AVX2 and FMA. */
#define VW 8
#define GEMM_ROWS 4
#define GEMM_VECS 2
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm;
PUF_INLINE vf vload(const float *p) { return _mm256_load_ps(p); }
PUF_INLINE void vstore(float *p, vf x) { _mm256_store_ps(p, x); }
PUF_INLINE vi vloadi(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
PUF_INLINE void vstorei(int32_t *p, vi x) { _mm256_storeu_si256((__m256i *)p, x); }
PUF_INLINE vf vset(float x) { return _mm256_set1_ps(x); }
PUF_INLINE vi vseti(int32_t x) { return _mm256_set1_epi32(x); }
PUF_INLINE vf vfma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
PUF_INLINE vf vmin(vf a, vf b) { return _mm256_min_ps(a, b); }
PUF_INLINE vf vmax(vf a, vf b) { return _mm256_max_ps(a, b); }
PUF_INLINE vm vgt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
PUF_INLINE vm veqi(vi a, vi b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)); }
PUF_INLINE vf vselect(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
PUF_INLINE vi vselecti(vm m, vi a, vi b) {
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(b), _mm256_castsi256_ps(a), m));
}
PUF_INLINE vf vroundv(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
PUF_INLINE vi vtoi(vf x) { return _mm256_cvtps_epi32(x); }
PUF_INLINE vf vtof(vi x) { return _mm256_cvtepi32_ps(x); }
PUF_INLINE vi vbits(vf x) { return _mm256_castps_si256(x); }
PUF_INLINE vf vfrombits(vi x) { return _mm256_castsi256_ps(x); }
PUF_INLINE vf vsqrt(vf x) { return _mm256_sqrt_ps(x); }
PUF_INLINE float vsum(vf x) {
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}
PUF_INLINE vf vrecip(vf x) {
    const vf y = _mm256_rcp_ps(x); /* 12 bits; one step doubles them */
    return _mm256_fnmadd_ps(_mm256_fmsub_ps(x, y, vset(1.0f)), y, y);
}
PUF_INLINE vf vsum_rows(const vf *r) {
    const vf a = _mm256_hadd_ps(_mm256_hadd_ps(r[0], r[1]), _mm256_hadd_ps(r[2], r[3]));
    const vf b = _mm256_hadd_ps(_mm256_hadd_ps(r[4], r[5]), _mm256_hadd_ps(r[6], r[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
#define VADDI(a, b) _mm256_add_epi32(a, b)
#define VANDI(a, b) _mm256_and_si256(a, b)
#define VSHLI(a, n) _mm256_slli_epi32(a, n)
#define VSRAI(a, n) _mm256_srai_epi32(a, n)
#define VANDM(a, b) _mm256_and_ps(a, b)
#define VNOTM(a) _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))
PUF_INLINE vi vfirst(int32_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
PUF_INLINE vf vload_n(const float *p, int32_t n) {
    return n >= VW ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, vfirst(n));
}
PUF_INLINE void vstore_n(float *p, vf x, int32_t n) {
    if (n >= VW) {
        _mm256_storeu_ps(p, x);
    } else {
        _mm256_maskstore_ps(p, vfirst(n), x);
    }
}
PUF_INLINE vm vflags_n(const uint8_t *p, int32_t n) {
    uint64_t bytes = 0;
    if (n >= VW) {
        puf_copy(&bytes, p, 8);
    } else {
        for (int32_t i = 0; i < n; i++) { bytes |= (uint64_t)p[i] << (8 * i); }
    }
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(wide, _mm256_setzero_si256()));
}
PUF_INLINE vm vorm(vm a, vm b) { return _mm256_or_ps(a, b); }
