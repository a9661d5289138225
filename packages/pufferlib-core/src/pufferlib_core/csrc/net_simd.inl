/* The network for one ISA, over the vector type of simd_<isa>.h. Included by kernels_<isa>.c.
 *
 * Rows are row-major (PUF_SLICE, width padded to whole vectors); head results are plane-major (component, PUF_SLICE), so that
 * the loss works on one row a lane. Everything dense is one product, gemm(): forward (rows x weights), weight gradient (inputs
 * transposed x deltas) and input gradient (deltas x weights) differ only in strides. Each output sums over k in order with FMA:
 * the result of a row does not depend on its neighbours.
 */

/* --- the product ------------------------------------------------------------------------------------------------------ */

/* c[m][v] (+)= sum_k a[m * row_stride + k * k_stride] * b[k * ldb + v], for `rows` x `vecs` registers known at compile time.
 * start: the initial value of every row (NULL: 0); add: continue from c. */
PUF_INLINE void gemm_tile(int rows, int vecs, int32_t depth, const float *PUF_RESTRICT a, int64_t row_stride, int64_t k_stride,
                          const float *PUF_RESTRICT b, int64_t ldb, const float *start, int add, float *PUF_RESTRICT c,
                          int64_t ldc) {
    vf acc[GEMM_ROWS][GEMM_VECS];
    for (int m = 0; m < rows; m++) {
        for (int v = 0; v < vecs; v++) {
            acc[m][v] = add ? vload(c + m * ldc + v * VW) : (start != NULL ? vload(start + v * VW) : vset(0.0f));
        }
    }
    for (int32_t k = 0; k < depth; k++) {
        vf w[GEMM_VECS];
        for (int v = 0; v < vecs; v++) { w[v] = vload(b + v * VW); }
        for (int m = 0; m < rows; m++) {
            const vf x = vset(a[m * row_stride]);
            for (int v = 0; v < vecs; v++) { acc[m][v] = vfma(x, w[v], acc[m][v]); }
        }
        a += k_stride;
        b += ldb;
    }
    for (int m = 0; m < rows; m++) {
        for (int v = 0; v < vecs; v++) { vstore(c + m * ldc + v * VW, acc[m][v]); }
    }
}

#define GEMM_CASE(R, V) \
    case (R) * 8 + (V): gemm_tile(R, V, depth, a, row_stride, k_stride, b, ldb, start, add, c, ldc); break;

static void gemm_edge(int rows, int vecs, int32_t depth, const float *a, int64_t row_stride, int64_t k_stride, const float *b,
                      int64_t ldb, const float *start, int add, float *c, int64_t ldc) {
    switch (rows * 8 + vecs) {
        GEMM_CASE(1, 1) GEMM_CASE(1, 2) GEMM_CASE(2, 1) GEMM_CASE(2, 2) GEMM_CASE(3, 1) GEMM_CASE(3, 2) GEMM_CASE(4, 1)
        GEMM_CASE(4, 2)
#if GEMM_VECS == 4
        GEMM_CASE(1, 3) GEMM_CASE(1, 4) GEMM_CASE(2, 3) GEMM_CASE(2, 4) GEMM_CASE(3, 3) GEMM_CASE(3, 4) GEMM_CASE(4, 3)
#endif
        default: break;
    }
}
#undef GEMM_CASE

enum { GEMM_DEPTH = 128 };

static void gemm(int32_t rows, int32_t columns, int32_t depth, const float *a, int64_t row_stride, int64_t k_stride,
                 const float *b, int64_t ldb, const float *start, int add, float *c, int64_t ldc) {
    const int32_t vecs = columns / VW;
    for (int32_t v = 0; v < vecs; v += GEMM_VECS) {
        const int wide = vecs - v < GEMM_VECS ? vecs - v : GEMM_VECS;
        const float *begin = start != NULL ? start + v * VW : NULL;
        int32_t part;
        for (int32_t k = 0; k < depth; k += part) { /* as many rows of b as stay in the cache; the order of sums is the same */
            part = depth - k < GEMM_DEPTH ? depth - k : GEMM_DEPTH;
            for (int32_t m = 0; m < rows; m += GEMM_ROWS) {
                const int tall = rows - m < GEMM_ROWS ? rows - m : GEMM_ROWS;
                const float *from = a + m * row_stride + k * k_stride, *weights = b + k * ldb + v * VW;
                float *to = c + m * ldc + v * VW;
                if (tall == GEMM_ROWS && wide == GEMM_VECS) {
                    gemm_tile(GEMM_ROWS, GEMM_VECS, part, from, row_stride, k_stride, weights, ldb, begin, add || k > 0, to, ldc);
                } else {
                    gemm_edge(tall, wide, part, from, row_stride, k_stride, weights, ldb, begin, add || k > 0, to, ldc);
                }
            }
        }
    }
}

/* --- activations -------------------------------------------------------------------------------------------------------- */

static void activate(float *x, int64_t n, int activation) {
    if (activation == PUF_TANH) {
        for (int64_t i = 0; i < n; i += VW) { vstore(x + i, vtanh(vload(x + i))); }
    } else {
        for (int64_t i = 0; i < n; i += VW) { vstore(x + i, vmax(vset(0.0f), vload(x + i))); }
    }
}

/* delta *= activation'(h), and adds its sum over the rows to `bias`. */
static void activation_backward(float *delta, const float *h, int32_t rows, int32_t pad, int activation,
                                float *bias) {
    for (int32_t j = 0; j < pad; j += VW) {
        vf sum = vset(0.0f);
        for (int32_t row = 0; row < rows; row++) {
            const vf y = vload(h + (int64_t)row * pad + j);
            vf d = vload(delta + (int64_t)row * pad + j);
            if (activation == PUF_TANH) {
                d = d - d * (y * y);
            } else {
                d = vselect(vgt(y, vset(0.0f)), d, vset(0.0f));
            }
            vstore(delta + (int64_t)row * pad + j, d);
            sum = sum + d;
        }
        vstore(bias + j, vload(bias + j) + sum);
    }
}

#include "encoder_simd.inl"
#include "core_simd.inl"

/* --- packing ---------------------------------------------------------------------------------------------------------- */

static void net_pack(const puf_layout *l, const float *params, float *packed) {
    puf_zero(packed, (size_t)l->packed * sizeof(float));
    for (int32_t t = 0; t < l->towers; t++) {
        const puf_tower *tower = &l->tower[t];
        encoders_pack(l, tower, params, packed);
        for (int32_t k = 0; k < tower->layers; k++) {
            const int32_t in = tower->in[k], out = tower->out[k], out_pad = tower->out_pad[k];
            const float *PUF_RESTRICT w = params + tower->w[k];
            float *PUF_RESTRICT wt = packed + tower->wt[k];
            for (int32_t j0 = 0; j0 < out; j0 += 16) { /* 16 columns at a time: whole cache lines of wt */
                const int32_t j1 = j0 + 16 < out ? j0 + 16 : out;
                for (int32_t i = 0; i < in; i++) {
                    for (int32_t j = j0; j < j1; j++) { wt[(int64_t)i * out_pad + j] = w[(int64_t)j * in + i]; }
                }
            }
            for (int32_t j = 0; (k > 0 || l->net.encoders > 0) && j < out; j++) {
                puf_copy(packed + tower->wc[k] + (int64_t)j * tower->in_pad[k], w + (int64_t)j * in, (size_t)in * 4);
            }
            puf_copy(packed + tower->pb[k], params + tower->b[k], (size_t)out * 4);
        }
        if (tower->core.size > 0) { core_pack(&tower->core, params, packed); }
    }
    for (int32_t row = 0; row < l->logits + 1; row++) {
        const int value = row == l->logits;
        const puf_tower *tower = &l->tower[value ? l->towers - 1 : 0];
        const int32_t wide = tower->read, local = row - tower->head_first, source = value ? 0 : row;
        puf_copy(packed + tower->head + (int64_t)local * tower->read_pad,
                 params + l->head_w[value] + (int64_t)source * wide, (size_t)wide * 4);
        packed[tower->head_bias + local] = params[l->head_b[value] + source];
    }
}

static void net_unpack(const puf_layout *l, const float *packed, float *grads) {
    for (int32_t t = 0; t < l->towers; t++) {
        const puf_tower *tower = &l->tower[t];
        encoders_unpack(l, tower, packed, grads);
        for (int32_t k = 0; k < tower->layers; k++) {
            const int32_t in = tower->in[k], out = tower->out[k], out_pad = tower->out_pad[k];
            const float *PUF_RESTRICT wt = packed + tower->wt[k];
            float *PUF_RESTRICT g = grads + tower->w[k];
            for (int32_t i0 = 0; i0 < in; i0 += 16) {
                const int32_t i1 = i0 + 16 < in ? i0 + 16 : in;
                for (int32_t j = 0; j < out; j++) {
                    for (int32_t i = i0; i < i1; i++) { g[(int64_t)j * in + i] = wt[(int64_t)i * out_pad + j]; }
                }
            }
            puf_copy(grads + tower->b[k], packed + tower->pb[k], (size_t)out * 4);
        }
        if (tower->core.size > 0) { core_unpack(&tower->core, packed, grads); }
    }
    for (int32_t row = 0; row < l->logits + 1; row++) {
        const int value = row == l->logits;
        const puf_tower *tower = &l->tower[value ? l->towers - 1 : 0];
        const int32_t wide = tower->read, local = row - tower->head_first, source = value ? 0 : row;
        puf_copy(grads + l->head_w[value] + (int64_t)source * wide,
                 packed + tower->head + (int64_t)local * tower->read_pad, (size_t)wide * 4);
        grads[l->head_b[value] + source] = packed[tower->head_bias + local];
    }
    puf_copy(grads + l->log_std, packed + l->grad_log_std, (size_t)l->net.action_numbers * 4);
}

/* --- forward and backward --------------------------------------------------------------------------------------------- */

/* planes[k][row] = bias[k] + dot(head[k], h[row]): sums across lanes, VW rows at a time. */
static void head_forward(const float *h, int32_t pad, const float *head, const float *bias, int32_t heads, int32_t rows,
                         float *planes) {
    for (int32_t r = 0; r < heads; r++) {
        const float *w = head + (int64_t)r * pad;
        for (int32_t first = 0; first < rows; first += VW) {
            vf acc[VW];
            for (int i = 0; i < VW; i++) { acc[i] = vset(0.0f); }
            for (int32_t j = 0; j < pad; j += VW) {
                const vf x = vload(w + j);
                for (int i = 0; i < VW; i++) { acc[i] = vfma(x, vload(h + (int64_t)(first + i) * pad + j), acc[i]); }
            }
            vstore(planes + (int64_t)r * PUF_SLICE + first, vsum_rows(acc) + vset(bias[r]));
        }
    }
}

static void net_forward(const puf_layout *l, const float *packed, float *scratch, int32_t rows) {
    for (int32_t t = 0; t < l->towers; t++) {
        const puf_tower *tower = &l->tower[t];
        const float *x = scratch + tower->x;
        int64_t ldx = tower->in[0];
        encode(l, tower, packed, scratch, rows);
        for (int32_t k = 0; k < tower->layers; k++) {
            float *y = scratch + tower->act[k];
            gemm(rows, tower->out_pad[k], tower->in[k], x, ldx, 1, packed + tower->wt[k], tower->out_pad[k],
                 packed + tower->pb[k], 0, y, tower->out_pad[k]);
            activate(y, (int64_t)rows * tower->out_pad[k], l->net.activation);
            x = y;
            ldx = tower->out_pad[k];
        }
        if (tower->core.size > 0) { core_forward(l, &tower->core, packed, scratch, x, ldx, rows); }
        head_forward(scratch + tower->output, tower->read_pad, packed + tower->head, packed + tower->head_bias, tower->head_rows,
                     rows, scratch + l->heads + (int64_t)tower->head_first * PUF_SLICE);
    }
}

PUF_INLINE void swap(float **a, float **b) {
    float *was = *a;
    *a = *b;
    *b = was;
}

static void net_backward(const puf_layout *l, const float *packed, float *scratch, float *carried, float *grads, int32_t rows) {
    for (int32_t t = 0; t < l->towers; t++) {
        const puf_tower *tower = &l->tower[t];
        const int32_t last = tower->layers - 1, pad = tower->read_pad;
        const float *heads = scratch + l->heads + (int64_t)tower->head_first * PUF_SLICE;
        float *work = tower->core.size > 0 ? carried : scratch; /* one place for all steps stays in the cache */
        float *delta = work + tower->delta[0], *spare = work + tower->delta[1];
        gemm(tower->head_rows, pad, rows, heads, PUF_SLICE, 1, scratch + tower->output, pad, NULL, 1, grads + tower->head,
             pad);
        for (int32_t r = 0; r < tower->head_rows; r++) {
            vf sum = vset(0.0f);
            for (int32_t i = 0; i < rows; i += VW) { sum = sum + vload(heads + (int64_t)r * PUF_SLICE + i); }
            grads[tower->head_bias + r] += vsum(sum);
        }
        gemm(rows, pad, tower->head_rows, heads, 1, PUF_SLICE, packed + tower->head, pad, NULL, 0, delta, pad);
        if (tower->core.size > 0) {
            core_backward(l, &tower->core, packed, scratch, delta, carried, spare, grads, rows);
            swap(&delta, &spare);
        }
        for (int32_t k = last; k >= 0; k--) {
            const int32_t wide = tower->out_pad[k];
            const float *x = k > 0 ? scratch + tower->act[k - 1] : scratch + tower->x;
            const int64_t ldx = k > 0 ? tower->out_pad[k - 1] : tower->in[0];
            activation_backward(delta, scratch + tower->act[k], rows, wide, l->net.activation, grads + tower->pb[k]);
            gemm(tower->in[k], wide, rows, x, 1, ldx, delta, wide, NULL, 1, grads + tower->wt[k], wide);
            if (k > 0 || l->net.encoders > 0) {
                gemm(rows, tower->in_pad[k], tower->out[k], delta, wide, 1, packed + tower->wc[k], tower->in_pad[k],
                     NULL, 0, spare, tower->in_pad[k]);
                swap(&delta, &spare);
            }
        }
        encode_backward(l, tower, packed, scratch, delta, grads);
    }
}

/* --- the loss ----------------------------------------------------------------------------------------------------------- */

static void net_loss(const puf_layout *l, const puf_loss_config *c, const float *log_std, float *scratch, const void *action,
                     const uint8_t *action_mask, float *sums, float *grads, int32_t rows) {
    float *heads = scratch + l->heads;
    const float *numbers = scratch + l->row;
    float *value_plane = heads + (int64_t)l->logits * PUF_SLICE;
    PUF_ALIGNED(64) float stats[PUF_MAX_HEADS * STATS];
    vf sum_policy = vset(0.0f), sum_value = sum_policy, sum_entropy = sum_policy, sum_kl = sum_policy, sum_clip = sum_policy;
    for (int32_t row = 0; row < rows; row += VW) {
        const vf weight = vload(numbers + PUF_ROW_WEIGHT * PUF_SLICE + row);
        const vf advantage = vload(numbers + PUF_ROW_ADVANTAGE * PUF_SLICE + row);
        const vf target = vload(numbers + PUF_ROW_TARGET * PUF_SLICE + row);
        const vf old_value = vload(numbers + PUF_ROW_VALUE * PUF_SLICE + row);
        const vf zero = vset(0.0f), one = vset(1.0f);
        vf logprob, entropy;
        evaluate(&l->dist, log_std, heads, action, action_mask, row, &logprob, &entropy, stats);
        const vf log_ratio = vmin(vset(20.0f), vmax(vset(-20.0f), logprob - vload(numbers + PUF_ROW_LOGPROB * PUF_SLICE + row)));
        const vf ratio = vexp(log_ratio);
        const vf clipped = vmin(vmax(ratio, vset(1.0f - c->clip)), vset(1.0f + c->clip));
        const vf plain = ratio * advantage, limited = clipped * advantage;
        /* The gradient is that of the smaller surrogate; both are equal inside the clip range. */
        vf objective = vmin(plain, limited);
        vf slope = vselect(vgt(plain, limited), zero, plain);
        if (c->dual_clip > 0.0f) {
            const vf bound = vset(c->dual_clip) * advantage;
            const vm low = VANDM(vgt(zero, advantage), vgt(bound, objective));
            objective = vselect(low, bound, objective);
            slope = vselect(low, zero, slope);
        }
        const vf value = vload(value_plane + row);
        vf error = value - target;
        vf value_loss = error * error;
        if (c->value_clip > 0.0f) {
            const vf moved = vmin(vmax(value - old_value, vset(-c->value_clip)), vset(c->value_clip));
            const vf other = (old_value + moved) - target;
            const vf limit = vset(c->value_clip);
            const vm outside = vorm(vgt(value - old_value, limit), vgt(zero - limit, value - old_value));
            const vm worse = VANDM(outside, vgt(other * other, value_loss)); /* inside the range rounding decides nothing */
            value_loss = vselect(worse, other * other, value_loss);
            error = vselect(worse, zero, error); /* outside it the clipped value does not move */
        }
        const vf far = vselect(vgt(ratio, vset(1.0f + c->clip)), one, vselect(vgt(vset(1.0f - c->clip), ratio), one, zero));
        sum_policy = sum_policy - weight * objective;
        sum_value = vfma(weight * vset(0.5f), value_loss, sum_value);
        sum_entropy = vfma(weight, entropy, sum_entropy);
        sum_kl = vfma(weight, (ratio - one) - log_ratio, sum_kl);
        sum_clip = vfma(weight, far, sum_clip);
        vstore(value_plane + row, weight * vset(c->value_coef) * error);
        const vf pull = vset(c->kl_coef) * (ratio - one); /* of (ratio - 1) - log ratio by the log-probability */
        evaluate_backward(&l->dist, log_std, heads, action, action_mask, row, weight * (pull - slope),
                          zero - weight * vset(c->entropy_coef), stats, grads + l->grad_log_std);
    }
    sums[PUF_SUM_POLICY] += vsum(sum_policy);
    sums[PUF_SUM_VALUE] += vsum(sum_value);
    sums[PUF_SUM_ENTROPY] += vsum(sum_entropy);
    sums[PUF_SUM_KL] += vsum(sum_kl);
    sums[PUF_SUM_CLIPPED] += vsum(sum_clip);
}

static void net_add(float *PUF_RESTRICT into, const float *PUF_RESTRICT from, int64_t n) {
    for (int64_t i = 0; i < n; i++) { into[i] += from[i]; }
}
