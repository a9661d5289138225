/* Four lanes: the 128-bit vectors of WebAssembly, which have no fused multiply-add. */
#define VW 4
#define GEMM_ROWS 4
#define GEMM_VECS 2
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vm __attribute__((vector_size(16)));
PUF_INLINE vf vload(const float *p) { return (vf)wasm_v128_load(p); }
PUF_INLINE void vstore(float *p, vf x) { wasm_v128_store(p, (v128_t)x); }
PUF_INLINE vi vloadi(const int32_t *p) { return (vi)wasm_v128_load(p); }
PUF_INLINE void vstorei(int32_t *p, vi x) { wasm_v128_store(p, (v128_t)x); }
PUF_INLINE vf vset(float x) { return (vf)wasm_f32x4_splat(x); }
PUF_INLINE vi vseti(int32_t x) { return (vi)wasm_i32x4_splat(x); }
PUF_INLINE vf vfma(vf a, vf b, vf c) { return a * b + c; }
/* As the other variants: the second operand where one is NaN. */
PUF_INLINE vf vmin(vf a, vf b) { return (vf)wasm_f32x4_pmin((v128_t)b, (v128_t)a); }
PUF_INLINE vf vmax(vf a, vf b) { return (vf)wasm_f32x4_pmax((v128_t)b, (v128_t)a); }
PUF_INLINE vm vgt(vf a, vf b) { return (vm)(a > b); }
PUF_INLINE vm veqi(vi a, vi b) { return (vm)(a == b); }
PUF_INLINE vf vselect(vm m, vf a, vf b) { return (vf)wasm_v128_bitselect((v128_t)a, (v128_t)b, (v128_t)m); }
PUF_INLINE vi vselecti(vm m, vi a, vi b) { return (vi)wasm_v128_bitselect((v128_t)a, (v128_t)b, (v128_t)m); }
PUF_INLINE vf vroundv(vf x) { return (vf)wasm_f32x4_nearest((v128_t)x); }
PUF_INLINE vi vtoi(vf x) { return (vi)wasm_i32x4_trunc_sat_f32x4((v128_t)x); }
PUF_INLINE vf vtof(vi x) { return (vf)wasm_f32x4_convert_i32x4((v128_t)x); }
PUF_INLINE vi vbits(vf x) { return (vi)x; }
PUF_INLINE vf vfrombits(vi x) { return (vf)x; }
PUF_INLINE vf vsqrt(vf x) { return (vf)wasm_f32x4_sqrt((v128_t)x); }
PUF_INLINE float vsum(vf x) { return (x[0] + x[1]) + (x[2] + x[3]); }
PUF_INLINE vf vrecip(vf x) { return vset(1.0f) / x; }
PUF_INLINE vf vsum_rows(const vf *r) {
    const vf low = __builtin_shufflevector(r[0], r[1], 0, 2, 4, 6) + __builtin_shufflevector(r[0], r[1], 1, 3, 5, 7);
    const vf high = __builtin_shufflevector(r[2], r[3], 0, 2, 4, 6) + __builtin_shufflevector(r[2], r[3], 1, 3, 5, 7);
    return __builtin_shufflevector(low, high, 0, 2, 4, 6) + __builtin_shufflevector(low, high, 1, 3, 5, 7);
}
#define VADDI(a, b) ((vi)wasm_i32x4_add((v128_t)(a), (v128_t)(b)))
#define VANDI(a, b) ((a) & (b))
#define VSHLI(a, n) ((vi)wasm_i32x4_shl((v128_t)(a), n))
#define VSRAI(a, n) ((vi)wasm_i32x4_shr((v128_t)(a), n))
#define VANDM(a, b) ((a) & (b))
#define VNOTM(a) (~(a))
PUF_INLINE vf vload_n(const float *p, int32_t n) {
    if (n >= VW) { return vload(p); }
    float lane[VW] = {0};
    for (int32_t i = 0; i < n; i++) { lane[i] = p[i]; }
    return vload(lane);
}
PUF_INLINE void vstore_n(float *p, vf x, int32_t n) {
    if (n >= VW) {
        vstore(p, x);
        return;
    }
    for (int32_t i = 0; i < n; i++) { p[i] = x[i]; }
}
PUF_INLINE vm vflags_n(const uint8_t *p, int32_t n) {
    if (n >= VW) {
        const v128_t wide = wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(p)));
        return (vm)wasm_i32x4_ne(wide, wasm_i32x4_splat(0));
    }
    vm flags = {0};
    for (int32_t i = 0; i < n; i++) { flags[i] = p[i] ? 0xFFFFFFFFu : 0u; }
    return flags;
}
PUF_INLINE vm vorm(vm a, vm b) { return a | b; }
