/* Four lanes: NEON of aarch64, which every such processor has. */
#define VW 4
#define GEMM_ROWS 4
#define GEMM_VECS 4
typedef float32x4_t vf;
typedef int32x4_t vi;
typedef uint32x4_t vm;
PUF_INLINE vf vload(const float *p) { return vld1q_f32(p); }
PUF_INLINE void vstore(float *p, vf x) { vst1q_f32(p, x); }
PUF_INLINE vi vloadi(const int32_t *p) { return vld1q_s32(p); }
PUF_INLINE void vstorei(int32_t *p, vi x) { vst1q_s32(p, x); }
PUF_INLINE vf vset(float x) { return vdupq_n_f32(x); }
PUF_INLINE vi vseti(int32_t x) { return vdupq_n_s32(x); }
PUF_INLINE vf vfma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
PUF_INLINE vm vgt(vf a, vf b) { return vcgtq_f32(a, b); }
PUF_INLINE vm veqi(vi a, vi b) { return vceqq_s32(a, b); }
PUF_INLINE vf vselect(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }
PUF_INLINE vi vselecti(vm m, vi a, vi b) { return vbslq_s32(m, a, b); }
/* As the other variants: the second operand where one is NaN. */
PUF_INLINE vf vmin(vf a, vf b) { return vselect(vcltq_f32(a, b), a, b); }
PUF_INLINE vf vmax(vf a, vf b) { return vselect(vcgtq_f32(a, b), a, b); }
PUF_INLINE vf vroundv(vf x) { return vrndnq_f32(x); }
PUF_INLINE vi vtoi(vf x) { return vcvtnq_s32_f32(x); }
PUF_INLINE vf vtof(vi x) { return vcvtq_f32_s32(x); }
PUF_INLINE vi vbits(vf x) { return vreinterpretq_s32_f32(x); }
PUF_INLINE vf vfrombits(vi x) { return vreinterpretq_f32_s32(x); }
PUF_INLINE vf vsqrt(vf x) { return vsqrtq_f32(x); }
PUF_INLINE float vsum(vf x) { return vaddvq_f32(x); }
PUF_INLINE vf vrecip(vf x) {
    vf y = vrecpeq_f32(x); /* 8 bits; each step doubles them */
    y = vmulq_f32(y, vrecpsq_f32(x, y));
    return vmulq_f32(y, vrecpsq_f32(x, y));
}
PUF_INLINE vf vsum_rows(const vf *r) { return vpaddq_f32(vpaddq_f32(r[0], r[1]), vpaddq_f32(r[2], r[3])); }
#define VADDI(a, b) vaddq_s32(a, b)
#define VANDI(a, b) vandq_s32(a, b)
#define VSHLI(a, n) vshlq_n_s32(a, n)
#define VSRAI(a, n) vshrq_n_s32(a, n)
#define VANDM(a, b) vandq_u32(a, b)
#define VNOTM(a) vmvnq_u32(a)
PUF_INLINE vf vload_n(const float *p, int32_t n) {
    if (n >= VW) { return vld1q_f32(p); }
    PUF_ALIGNED(16) float lane[VW] = {0};
    for (int32_t i = 0; i < n; i++) { lane[i] = p[i]; }
    return vld1q_f32(lane);
}
PUF_INLINE void vstore_n(float *p, vf x, int32_t n) {
    if (n >= VW) {
        vst1q_f32(p, x);
        return;
    }
    PUF_ALIGNED(16) float lane[VW];
    vst1q_f32(lane, x);
    for (int32_t i = 0; i < n; i++) { p[i] = lane[i]; }
}
PUF_INLINE vm vflags_n(const uint8_t *p, int32_t n) {
    PUF_ALIGNED(16) uint32_t lane[VW] = {0};
    for (int32_t i = 0; i < n && i < VW; i++) { lane[i] = p[i]; }
    return vcgtq_u32(vld1q_u32(lane), vdupq_n_u32(0));
}
PUF_INLINE vm vorm(vm a, vm b) { return vorrq_u32(a, b); }
