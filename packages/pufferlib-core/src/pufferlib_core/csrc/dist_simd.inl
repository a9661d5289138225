/* Elementary functions and distributions for one ISA, over the vector type of simd_<isa>.h. Included by kernels_<isa>.c.
 * One row a lane: planes (component, PUF_SLICE). */

/* --- elementary functions, with FMA: close to puffer/math.h, not bit-equal ------------------------------------------ */

PUF_INLINE vf vexp(vf x) {
    const vf z = vmin(vset(88.0f), vmax(vset(-87.0f), x)); /* NaN passes: min and max return the second operand */
    const vf n = vroundv(z * vset(1.44269504f));
    vf r = vfma(n, vset(-0.693359375f), z);
    r = vfma(n, vset(2.12194440e-4f), r);
    vf p = vset(1.9875691500e-4f);
    p = vfma(p, r, vset(1.3981999507e-3f));
    p = vfma(p, r, vset(8.3334519073e-3f));
    p = vfma(p, r, vset(4.1665795894e-2f));
    p = vfma(p, r, vset(1.6666665459e-1f));
    p = vfma(p, r, vset(5.0000001201e-1f));
    p = vfma(p, r * r, r) + vset(1.0f);
    return vfrombits(VADDI(vbits(p), VSHLI(vtoi(n), 23)));
}

PUF_INLINE vf vlog(vf x) {
    const vi shifted = VADDI(vbits(x), vseti(-0x3F3504F3));
    const vf e = vtof(VSRAI(shifted, 23));
    const vf m = vfrombits(VADDI(VANDI(shifted, vseti(0x7FFFFF)), vseti(0x3F3504F3))) - vset(1.0f);
    const vf m2 = m * m;
    vf p = vset(7.0376836292e-2f);
    p = vfma(p, m, vset(-1.1514610310e-1f));
    p = vfma(p, m, vset(1.1676998740e-1f));
    p = vfma(p, m, vset(-1.2420140846e-1f));
    p = vfma(p, m, vset(1.4249322787e-1f));
    p = vfma(p, m, vset(-1.6668057665e-1f));
    p = vfma(p, m, vset(2.0000714765e-1f));
    p = vfma(p, m, vset(-2.4999993993e-1f));
    p = vfma(p, m, vset(3.3333331174e-1f));
    vf y = vfma(e, vset(-2.12194440e-4f), m * m2 * p);
    y = vfma(m2, vset(-0.5f), y);
    return vfma(e, vset(0.693359375f), m + y);
}

/* x P(x^2) / Q(x^2) on [-7.9, 7.9]: a rational least-maximum fit, absolute error below 5e-7. NaN passes. */
PUF_INLINE vf vtanh(vf x) {
    const vf z = vmax(vset(-7.9f), vmin(vset(7.9f), x));
    const vf z2 = z * z;
    vf p = vset(1.1466527617708257e-5f);
    p = vfma(p, z2, vset(2.9538259868392147e-3f));
    p = vfma(p, z2, vset(1.2927913286325549e-1f));
    p = vfma(p, z2, vset(9.999996626800968e-1f));
    vf q = vset(2.47283504944063e-7f);
    q = vfma(q, z2, vset(2.3911228690311776e-4f));
    q = vfma(q, z2, vset(2.3826017343456397e-2f));
    q = vfma(q, z2, vset(4.6261086444609534e-1f));
    q = vfma(q, z2, vset(1.0f));
    return (z * p) * vrecip(q);
}

/* --- distributions ---------------------------------------------------------------------------------------------------- */

/* Log-softmax of planes [0, n) at lanes `row`: returns log sum exp, relative to the largest. Masked choices get -1e9, whose
 * probability is exactly 0; a row of masks has `wide` bytes. */
PUF_INLINE vf masked_logit(const float *planes, const uint8_t *mask, int32_t wide, int32_t component, int32_t k, int32_t row) {
    const vf x = vload(planes + (int64_t)k * PUF_SLICE + row);
    if (mask == NULL) { return x; }
    int32_t allowed[VW];
    for (int i = 0; i < VW; i++) { allowed[i] = mask[(int64_t)(row + i) * wide + component + k] != 0; }
    return vselect(veqi(vloadi(allowed), vseti(1)), x, vset(-1e9f));
}

PUF_INLINE void softmax_stats(const float *planes, const uint8_t *mask, int32_t wide, int32_t component, int32_t n,
                              int32_t row, vf *largest, vf *sum) {
    vf top = masked_logit(planes, mask, wide, component, 0, row);
    for (int32_t k = 1; k < n; k++) { top = vmax(top, masked_logit(planes, mask, wide, component, k, row)); }
    vf total = vset(0.0f);
    for (int32_t k = 0; k < n; k++) { total = total + vexp(masked_logit(planes, mask, wide, component, k, row) - top); }
    *largest = top;
    *sum = total;
}

/* E log (1 - tanh^2 u) of u ~ N(mean, std^2) by the nodes of ops/distributions.py (`squash_loss`), and its derivatives by
 * the mean and log_std. log (1 - tanh^2 u) = 2 (log 2 - |u| - log (1 + e^{-2|u|})): nothing overflows or cancels. */
PUF_INLINE void squash_loss(vf mean, float std, vf *value, vf *d_mean, vf *d_log_std) {
    static const float weight[] = {3.19155880e-1f, 2.31754734e-1f, 8.87372390e-2f,
                                   1.79157396e-2f, 1.90728284e-3f, 1.07064870e-4f};
    vf sum = vset(0.0f), slope = sum, spread = sum;
    for (int32_t k = -5; k <= 5; k++) {
        const float w = weight[k < 0 ? -k : k], away = 0.8f * (float)k * std;
        const vf u = mean + vset(away), size = vmax(u, vset(0.0f) - u);
        const vf e = vexp(vset(-2.0f) * size), whole = vset(1.0f) + e;
        const vf positive = (vset(1.0f) - e) * vrecip(whole); /* tanh |u| */
        const vf bent = vselect(vgt(u, vset(0.0f)), positive, vset(0.0f) - positive);
        sum = vfma(vset(w), size + vlog(whole), sum);
        slope = vfma(vset(w), bent, slope);
        spread = vfma(vset(w * away), bent, spread);
    }
    *value = vfma(vset(-2.0f), sum, vset(1.38629436f));
    *d_mean = vset(-2.0f) * slope;
    *d_log_std = vset(-2.0f) * spread;
}

#define HALF_LOG_2PI 0.918938533204672742f
#define STATS (2 * VW) /* floats kept of a component between evaluation and gradient */

static void dist_sample(const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask, int32_t rows,
                        const uint32_t *words, int greedy, void *action, float *logprob) {
    const int32_t choices = puf_dist_choices(dist), wide = puf_dist_mask_size(dist);
    for (int32_t row = 0; row < rows; row += VW) {
        vf total = vset(0.0f);
        const float *planes = heads;
        int32_t first = 0;
        for (int32_t c = 0; c < choices; c++) {
            const uint32_t *w0 = words + (int64_t)(2 * c) * PUF_SLICE + row;
            PUF_ALIGNED(64) float u0[VW];
            for (int i = 0; i < VW; i++) { u0[i] = greedy ? 0.0f : puf_unit(w0[i]); }
            const int32_t n = dist->n[c];
            vf top, sum;
            softmax_stats(planes, action_mask, wide, first, n, row, &top, &sum);
            const vf threshold = vload(u0) * sum;
            vf running = vset(0.0f), best = vset(-3e38f), picked = vset(0.0f);
            vi choice = vseti(0);
            for (int32_t k = 0; k < n; k++) {
                const vf x = masked_logit(planes, action_mask, wide, first, k, row);
                const vf p = vexp(x - top);
                /* Greedy: the first largest. Sampling: the last with a probability whose running sum starts at or below the
                 * threshold. */
                const vm better = greedy ? vgt(x, best) : VANDM(vgt(p, vset(0.0f)), VNOTM(vgt(running, threshold)));
                best = vmax(best, x);
                running = running + p;
                choice = vselecti(better, vseti(k), choice);
                picked = vselect(better, x, picked);
            }
            vstorei((int32_t *)action + (int64_t)c * PUF_SLICE + row, choice);
            total = total + ((picked - top) - vlog(sum));
            planes += (int64_t)n * PUF_SLICE;
            first += n;
        }
        for (int32_t a = 0; a < dist->numbers; a++) {
            const int32_t c = choices + a;
            const uint32_t *w0 = words + (int64_t)(2 * c) * PUF_SLICE + row, *w1 = w0 + PUF_SLICE;
            const vf mean = vload(planes + (int64_t)a * PUF_SLICE + row);
            PUF_ALIGNED(64) float z[VW] = {0};
            for (int i = 0; !greedy && i < VW; i++) { /* Box and Muller */
                float s, co;
                puf_sincos(6.28318530717958648f * puf_unit(w0[i]), &s, &co);
                z[i] = puf_sqrt(-2.0f * puf_log(puf_unit_open(w1[i]))) * co;
            }
            const vf noise = vload(z);
            vstore((float *)action + (int64_t)c * PUF_SLICE + row, vfma(noise, vset(puf_exp(log_std[a])), mean));
            total = total - vfma(noise * noise, vset(0.5f), vset(log_std[a] + HALF_LOG_2PI));
        }
        vstore(logprob + row, total);
    }
}

/* Log-probability and entropy of the stored actions. What the gradient needs is kept in `stats`: for each choice the largest
 * logit and the logarithm of the sum, for each squashed number the derivatives of what its entropy loses. */
PUF_INLINE void evaluate(const puf_dist *dist, const float *log_std, const float *heads, const void *action,
                         const uint8_t *action_mask, int32_t row, vf *logprob, vf *entropy, float *stats) {
    const int32_t choices = puf_dist_choices(dist), wide = puf_dist_mask_size(dist);
    vf total = vset(0.0f), spread = vset(0.0f);
    const float *planes = heads;
    int32_t first = 0;
    for (int32_t c = 0; c < choices; c++) {
        const int32_t n = dist->n[c];
        const vi taken = vloadi((const int32_t *)action + (int64_t)c * PUF_SLICE + row);
        vf top, sum, picked = vset(0.0f), weighted = vset(0.0f);
        softmax_stats(planes, action_mask, wide, first, n, row, &top, &sum);
        const vf log_sum = vlog(sum), inverse = vrecip(sum);
        for (int32_t k = 0; k < n; k++) {
            const vf x = masked_logit(planes, action_mask, wide, first, k, row);
            const vf lp = (x - top) - log_sum;
            weighted = vfma(vexp(x - top) * inverse, lp, weighted);
            picked = vselect(veqi(taken, vseti(k)), lp, picked);
        }
        total = total + picked;
        spread = spread - weighted;
        vstore(stats + (int64_t)c * STATS, top + log_sum);
        vstore(stats + (int64_t)c * STATS + VW, vset(0.0f) - weighted);
        planes += (int64_t)n * PUF_SLICE;
        first += n;
    }
    const float *numbers = (const float *)action + (int64_t)choices * PUF_SLICE;
    for (int32_t a = 0; a < dist->numbers; a++) {
        const int64_t at = (int64_t)a * PUF_SLICE + row;
        const vf z = (vload(numbers + at) - vload(planes + at)) * vset(puf_exp(-log_std[a]));
        total = total - vfma(z * z, vset(0.5f), vset(log_std[a] + HALF_LOG_2PI));
        spread = spread + vset(log_std[a] + (HALF_LOG_2PI + 0.5f));
        if (dist->squash) {
            float *kept = stats + (int64_t)(choices + a) * STATS;
            vf lost, d_mean, d_log_std;
            squash_loss(vload(planes + at), puf_exp(log_std[a]), &lost, &d_mean, &d_log_std);
            spread = spread + lost;
            vstore(kept, d_mean);
            vstore(kept + VW, d_log_std);
        }
    }
    *logprob = total;
    *entropy = spread;
}

/* d loss / d heads, given d loss / d logprob and the (negative) weight of the entropy. Overwrites the planes. */
PUF_INLINE void evaluate_backward(const puf_dist *dist, const float *log_std, float *heads, const void *action,
                                  const uint8_t *action_mask, int32_t row, vf d_logprob, vf d_entropy, const float *stats,
                                  float *grad_log_std) {
    const int32_t choices = puf_dist_choices(dist), wide = puf_dist_mask_size(dist);
    float *planes = heads;
    int32_t first = 0;
    for (int32_t c = 0; c < choices; c++) {
        const int32_t n = dist->n[c];
        const vi taken = vloadi((const int32_t *)action + (int64_t)c * PUF_SLICE + row);
        const vf norm = vload(stats + (int64_t)c * STATS), entropy = vload(stats + (int64_t)c * STATS + VW);
        for (int32_t k = 0; k < n; k++) {
            const vf lp = masked_logit(planes, action_mask, wide, first, k, row) - norm;
            const vf p = vexp(lp);
            const vf one = vselect(veqi(taken, vseti(k)), vset(1.0f), vset(0.0f));
            /* A masked choice has probability 0 and must not move. */
            const vf d = d_logprob * (one - p) - d_entropy * (p * (lp + entropy));
            vstore(planes + (int64_t)k * PUF_SLICE + row, vselect(vgt(lp, vset(-1e8f)), d, vset(0.0f)));
        }
        planes += (int64_t)n * PUF_SLICE;
        first += n;
    }
    const float *numbers = (const float *)action + (int64_t)choices * PUF_SLICE;
    for (int32_t a = 0; a < dist->numbers; a++) {
        const int64_t at = (int64_t)a * PUF_SLICE + row;
        const vf inverse = vset(puf_exp(-log_std[a]));
        const vf z = (vload(numbers + at) - vload(planes + at)) * inverse;
        vf d_mean = d_logprob * z * inverse, d_log_std = vfma(d_logprob, z * z - vset(1.0f), d_entropy);
        if (dist->squash) {
            const float *kept = stats + (int64_t)(choices + a) * STATS;
            d_mean = vfma(d_entropy, vload(kept), d_mean);
            d_log_std = vfma(d_entropy, vload(kept + VW), d_log_std);
        }
        vstore(planes + at, d_mean);
        grad_log_std[a] += vsum(d_log_std);
    }
}

static void dist_evaluate(const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask,
                          const void *action, float *logprob, float *entropy) {
    PUF_ALIGNED(64) float stats[PUF_MAX_HEADS * STATS];
    for (int32_t row = 0; row < PUF_SLICE; row += VW) {
        vf total, spread;
        evaluate(dist, log_std, heads, action, action_mask, row, &total, &spread, stats);
        vstore(logprob + row, total);
        vstore(entropy + row, spread);
    }
}

static void dist_gradient(const puf_dist *dist, float *heads, const float *log_std, const uint8_t *action_mask,
                          const void *action, const float *d_logprob, const float *d_entropy, float *d_log_std) {
    PUF_ALIGNED(64) float stats[PUF_MAX_HEADS * STATS];
    for (int32_t row = 0; row < PUF_SLICE; row += VW) {
        vf logprob, entropy;
        evaluate(dist, log_std, heads, action, action_mask, row, &logprob, &entropy, stats);
        evaluate_backward(dist, log_std, heads, action, action_mask, row, vload(d_logprob + row), vload(d_entropy + row), stats,
                          d_log_std);
    }
}

/* Words of rows [0, rows), rounded up to whole vectors: component c draws from stream ACTION + c + 64 * (high word of step), counter
 * (environment, low word of step). */
static void dist_noise(uint64_t seed, uint64_t step, uint32_t first_env, int32_t rows, int32_t components,
                       uint32_t *PUF_RESTRICT words) {
    const int32_t lanes = (rows + VW - 1) / VW * VW;
    for (int32_t c = 0; c < components; c++) {
        const puf_rng stream = puf_rng_stream(seed, PUF_STREAM_ACTION + (uint64_t)c + ((step >> 32) << 6));
        const uint32_t key0 = stream.key[0], key1 = stream.key[1], low = (uint32_t)step;
        uint32_t *PUF_RESTRICT w0 = words + (int64_t)(2 * c) * PUF_SLICE;
        uint32_t *PUF_RESTRICT w1 = w0 + PUF_SLICE;
        PUF_IVDEP
        for (int32_t i = 0; i < lanes; i++) { puf_threefry(key0, key1, first_env + (uint32_t)i, low, &w0[i], &w1[i]); }
    }
}
