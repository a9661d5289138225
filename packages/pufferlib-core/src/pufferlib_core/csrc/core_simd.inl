/* Recurrent cores for one ISA: formulas in puffer/net.h, products by gemm() of net_simd.inl, which includes this file.
 *
 * Each gate has a block of size_pad columns, so that a gate is whole vectors; padded columns stay 0. Packed weights lie in panels
 * of PUF_PANEL columns, each contiguous, so that a panel's part stays in the first cache while all rows pass.
 */

enum {
    PANEL_DEPTH = 96,  /* rows of a panel that pass at once: 24 KiB */
    GRADIENT_ROWS = 32 /* of a panel of gradients to which all steps add before the next: 8 KiB */
};

/* gemm() with b (depth, columns) in panels. */
static void panel_gemm(int32_t rows, int32_t columns, int32_t depth, const float *a, int64_t row_stride, const float *b,
                       const float *start, int add, float *c, int64_t ldc) {
    for (int32_t first = 0; first < columns; first += PUF_PANEL) {
        const int32_t wide = columns - first < PUF_PANEL ? columns - first : PUF_PANEL;
        for (int32_t k = 0; k < depth; k += PANEL_DEPTH) {
            const int32_t deep = depth - k < PANEL_DEPTH ? depth - k : PANEL_DEPTH;
            gemm(rows, wide, deep, a + k, row_stride, 1, b + (int64_t)first * depth + (int64_t)k * wide, wide,
                 start != NULL && k == 0 ? start + first : NULL, add || k > 0, c + first, ldc);
        }
    }
}

/* Columns of the panel that holds a column: from row to row of it. */
PUF_INLINE int32_t panel_wide(int32_t columns, int32_t column) {
    const int32_t rest = columns - column / PUF_PANEL * PUF_PANEL;
    return rest < PUF_PANEL ? rest : PUF_PANEL;
}

/* Place of (row, column) of a matrix of `rows` rows in panels. */
PUF_INLINE int64_t panel_at(int32_t rows, int32_t columns, int32_t row, int32_t column) {
    const int32_t first = column / PUF_PANEL * PUF_PANEL;
    return (int64_t)first * rows + (int64_t)row * panel_wide(columns, column) + (column - first);
}

static void core_pack(const puf_recurrent *core, const float *params, float *packed) {
    for (int32_t p = 0; p < core->products; p++) {
        const puf_product *m = &core->product[p];
        for (int32_t j = 0; j < m->count * core->size; j++) {
            const int32_t column = j / core->size * core->size_pad + j % core->size, wide = panel_wide(m->columns, column);
            const float *PUF_RESTRICT w = params + m->w + (int64_t)j * m->in;
            float *PUF_RESTRICT wt = packed + m->wt + panel_at(m->in, m->columns, 0, column);
            for (int32_t i = 0; i < m->in; i++) { wt[(int64_t)i * wide] = w[i]; }
            for (int32_t i = 0; i < m->in; i += PUF_PANEL) {
                puf_copy(packed + m->wc + panel_at(m->columns, m->in_pad, column, i), w + i,
                         (size_t)(m->in - i < PUF_PANEL ? m->in - i : PUF_PANEL) * 4);
            }
        }
    }
    for (int32_t g = 0; g < core->gates; g++) {
        puf_copy(packed + core->pb + (int64_t)g * core->size_pad, params + core->b + (int64_t)g * core->size,
                 (size_t)core->size * 4);
    }
}

static void core_unpack(const puf_recurrent *core, const float *packed, float *grads) {
    for (int32_t p = 0; p < core->products; p++) {
        const puf_product *m = &core->product[p];
        for (int32_t j = 0; j < m->count * core->size; j++) {
            const int32_t column = j / core->size * core->size_pad + j % core->size, wide = panel_wide(m->columns, column);
            const float *PUF_RESTRICT wt = packed + m->wt + panel_at(m->in, m->columns, 0, column);
            float *PUF_RESTRICT g = grads + m->w + (int64_t)j * m->in;
            for (int32_t i = 0; i < m->in; i++) { g[i] = wt[(int64_t)i * wide]; }
        }
    }
    for (int32_t g = 0; g < core->gates; g++) {
        puf_copy(grads + core->b + (int64_t)g * core->size, packed + core->pb + (int64_t)g * core->size_pad,
                 (size_t)core->size * 4);
    }
}

PUF_INLINE vf vlogistic(vf x) { return vfma(vset(0.5f), vtanh(vset(0.5f) * x), vset(0.5f)); }

/* x (rows, ldx) -> core->after, and the gates as the backward pass needs them. */
static void core_forward(const puf_layout *l, const puf_recurrent *core, const float *packed, float *scratch, const float *x,
                         int64_t ldx, int32_t rows) {
    const int32_t pad = core->size_pad;
    const int64_t ldg = core->plane_row, half = (int64_t)PUF_SLICE * pad;
    const float *before = scratch + core->before;
    float *plane = scratch + core->plane, *after = scratch + core->after;
    for (int32_t p = 0; p < core->products; p++) {
        const puf_product *m = &core->product[p];
        panel_gemm(rows, m->columns, m->in, p == 0 ? x : before, p == 0 ? ldx : pad, packed + m->wt,
                   p == 0 ? packed + core->pb : NULL, p == 1, plane + (int64_t)m->to * pad, ldg);
    }
    for (int32_t row = 0; row < rows; row++) {
        float *gate = plane + row * ldg, *h = after + (int64_t)row * pad;
        const float *was = before + (int64_t)row * pad;
        for (int32_t j = 0; j < pad; j += VW) {
            if (l->net.core == PUF_LSTM) {
                const vf i = vlogistic(vload(gate + j)), f = vlogistic(vload(gate + pad + j));
                const vf g = vtanh(vload(gate + 2 * pad + j)), o = vlogistic(vload(gate + 3 * pad + j));
                const vf c = vfma(f, vload(was + half + j), i * g);
                vstore(gate + j, i);
                vstore(gate + pad + j, f);
                vstore(gate + 2 * pad + j, g);
                vstore(gate + 3 * pad + j, o);
                vstore(h + half + j, c);
                vstore(h + j, o * vtanh(c));
            } else {
                const vf r = vlogistic(vload(gate + j)), z = vlogistic(vload(gate + pad + j));
                const vf n = vtanh(vfma(r, vload(gate + 3 * pad + j), vload(gate + 2 * pad + j)));
                vstore(gate + j, r);
                vstore(gate + pad + j, z);
                vstore(gate + 2 * pad + j, n);
                vstore(h + j, vfma(z, vload(was + j) - n, n));
            }
        }
    }
}

/* Deltas of one row's gates in place of the gates, from those of h (dh) and, of an LSTM, of c (dc); then dh is the part of the
 * delta of the h before that does not pass the gates, and dc the delta of the c before. */
PUF_INLINE void lstm_row(float *gate, const float *was_c, const float *c, int32_t pad, float *dh, float *dc) {
    const vf one = vset(1.0f);
    for (int32_t j = 0; j < pad; j += VW) {
        const vf i = vload(gate + j), f = vload(gate + pad + j), g = vload(gate + 2 * pad + j), o = vload(gate + 3 * pad + j);
        const vf tanh_c = vtanh(vload(c + j)), out = vload(dh + j);
        const vf cell = vfma(out * o, one - tanh_c * tanh_c, vload(dc + j));
        vstore(gate + j, cell * g * (i * (one - i)));
        vstore(gate + pad + j, cell * vload(was_c + j) * (f * (one - f)));
        vstore(gate + 2 * pad + j, cell * i * (one - g * g));
        vstore(gate + 3 * pad + j, out * tanh_c * (o * (one - o)));
        vstore(dc + j, cell * f);
        vstore(dh + j, vset(0.0f));
    }
}

PUF_INLINE void gru_row(float *gate, const float *was, int32_t pad, float *dh) {
    const vf one = vset(1.0f);
    for (int32_t j = 0; j < pad; j += VW) {
        const vf r = vload(gate + j), z = vload(gate + pad + j), n = vload(gate + 2 * pad + j), out = vload(dh + j);
        const vf inner = out * (one - z) * (one - n * n);
        vstore(gate + j, inner * vload(gate + 3 * pad + j) * (r * (one - r)));
        vstore(gate + pad + j, out * (vload(was + j) - n) * (z * (one - z)));
        vstore(gate + 2 * pad + j, inner);
        vstore(gate + 3 * pad + j, inner * r);
        vstore(dh + j, out * z);
    }
}

/* delta (rows, size_pad): of the output; overwritten. carried: of what the next row starts with, becomes that of what this
 * one started with. Writes the delta of x to dx and adds to the gradient of the bias. A row that is kept has weight 0 in the loss, so that all
 * its own deltas are 0, and hands those that are carried back as they are. */
static void core_backward(const puf_layout *l, const puf_recurrent *core, const float *packed, float *scratch, float *delta,
                          float *carried, float *dx, float *grads, int32_t rows) {
    const int32_t pad = core->size_pad;
    const int64_t ldg = core->plane_row, half = (int64_t)PUF_SLICE * pad;
    const float *before = scratch + core->before, *after = scratch + core->after;
    const uint8_t *memory = (const uint8_t *)(scratch + l->memory);
    float *plane = scratch + core->plane, *back = carried + core->delta;
    for (int32_t row = 0; row < rows; row++) {
        const int64_t at = (int64_t)row * pad;
        float *dh = delta + at, *dc = back + half + at;
        for (int32_t j = 0; memory[row] == PUF_HANDED_ON && j < pad; j += VW) {
            vstore(dh + j, vload(dh + j) + vload(back + at + j));
        }
        if (l->net.core == PUF_GRU) {
            gru_row(plane + row * ldg, before + at, pad, dh);
        } else if (memory[row] == PUF_KEPT) {
            puf_zero(plane + row * ldg, (size_t)ldg * 4);
        } else {
            if (memory[row] == PUF_FORGOTTEN) { puf_zero(dc, (size_t)pad * 4); }
            lstm_row(plane + row * ldg, before + half + at, after + half + at, pad, dh, dc);
        }
    }
    for (int32_t j = 0; j < core->gates * pad; j += VW) {
        vf sum = vset(0.0f);
        for (int32_t row = 0; row < rows; row++) { sum = sum + vload(plane + row * ldg + j); }
        vstore(grads + core->pb + j, vload(grads + core->pb + j) + sum);
    }
    for (int32_t p = 0; p < core->products; p++) {
        const puf_product *m = &core->product[p];
        const float *deltas = plane + (int64_t)m->to * pad;
        panel_gemm(rows, m->in_pad, m->columns, deltas, ldg, packed + m->wc, NULL, p > 0, p == 0 ? dx : delta, m->in_pad);
    }
    for (int32_t row = 0; row < rows; row++) {
        if (memory[row] != PUF_KEPT) { puf_copy(back + (int64_t)row * pad, delta + (int64_t)row * pad, (size_t)pad * 4); }
    }
}

/* Adds the gradients of a core's weights in `steps` scratches that follow each other, after their backward passes: several steps at
 * once, because the gradients are too large to stay in the cache from step to step. */
static void net_core_gradients(const puf_layout *l, const float *scratch, int32_t rows, int32_t steps, float *grads) {
    for (int32_t t = 0; t < l->towers; t++) {
        const puf_tower *tower = &l->tower[t];
        const puf_recurrent *core = &tower->core;
        for (int32_t p = 0; p < core->products; p++) {
            const puf_product *m = &core->product[p];
            const float *x = scratch + (p == 0 ? tower->act[tower->layers - 1] : core->before);
            const float *deltas = scratch + core->plane + (int64_t)m->to * core->size_pad;
            for (int32_t first = 0; first < m->columns; first += PUF_PANEL) {
                const int32_t wide = m->columns - first < PUF_PANEL ? m->columns - first : PUF_PANEL;
                float *panel = grads + m->wt + (int64_t)first * m->in;
                for (int32_t i = 0; i < m->in; i += GRADIENT_ROWS) {
                    for (int32_t k = 0; k < steps; k++) {
                        gemm(m->in - i < GRADIENT_ROWS ? m->in - i : GRADIENT_ROWS, wide, rows, x + k * l->scratch + i, 1,
                             m->in_pad, deltas + k * l->scratch + first, core->plane_row, NULL, 1, panel + (int64_t)i * wide,
                             wide);
                    }
                }
            }
        }
    }
}
