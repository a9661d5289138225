/* Encoders for one ISA: what reads images and vectors before the dense layers. Included by net_simd.inl.
 *
 * A layer reads patches. Channels are innermost, so that a patch is `kernel` runs of neighbouring numbers, one row of the image
 * apart, and is read where it lies: nothing is gathered. A dense layer has one place, whose patch is all that it reads. What a
 * layer gives is padded to whole vectors with zeros and read on like that. Weights are packed as panels of as many columns as a
 * tile has (the last may be narrower), one after the other, so that a tile reads them without a gap. Images of a slice are taken some at a time, through
 * all layers, while they are in the cache. Each number is summed in an order of its own.
 */

enum { PATCH_ROWS = GEMM_VECS == 4 ? 8 : 6, PATCH_VECS = 2, PANEL = PATCH_VECS * VW }; /* registers of a tile; its columns */

/* to[m][v] (+)= start[v] + sum over patch m of from[m][run * run_step + k] * b[(run * run_length + k) * ldb + v]. */
PUF_INLINE void patch_tile(int rows, int vecs, int32_t runs, int32_t run_length, int64_t run_step, const float *const *from,
                           const float *PUF_RESTRICT b, int64_t ldb, const float *start, int add, float *const *to) {
    vf acc[PATCH_ROWS][PATCH_VECS];
    const float *a[PATCH_ROWS];
    for (int m = 0; m < rows; m++) {
        a[m] = from[m];
        for (int v = 0; v < vecs; v++) { acc[m][v] = start != NULL ? vload(start + v * VW) : vset(0.0f); }
    }
    for (int32_t run = 0; run < runs; run++) {
        for (int32_t k = 0; k < run_length; k++) {
            vf w[PATCH_VECS];
            for (int v = 0; v < vecs; v++) { w[v] = vload(b + v * VW); }
            for (int m = 0; m < rows; m++) {
                const vf x = vset(a[m][k]);
                for (int v = 0; v < vecs; v++) { acc[m][v] = vfma(x, w[v], acc[m][v]); }
            }
            b += ldb;
        }
        for (int m = 0; m < rows; m++) { a[m] += run_step; }
    }
    for (int m = 0; m < rows; m++) { /* one after the other: places that are added to may overlap */
        for (int v = 0; v < vecs; v++) {
            float *c = to[m] + v * VW;
            if (add) { acc[m][v] = acc[m][v] + vload(c); }
            vstore(c, acc[m][v]);
        }
    }
}

#define PATCH_CASE(R) \
    if (vecs == 2) { \
        patch_tile(R, 2, runs, run_length, run_step, from, b, ldb, start, add, to); \
    } else { \
        patch_tile(R, 1, runs, run_length, run_step, from, b, ldb, start, add, to); \
    } \
    break;

/* The same for a number of rows that the compiler does not know. */
static void patch_rows(int rows, int vecs, int32_t runs, int32_t run_length, int64_t run_step, const float *const *from,
                       const float *b, int64_t ldb, const float *start, int add, float *const *to) {
    switch (rows) {
        case PATCH_ROWS: PATCH_CASE(PATCH_ROWS)
        case 2: PATCH_CASE(2)
        default: PATCH_CASE(1)
    }
}
#undef PATCH_CASE

/* Rows of the next tile of `rest`. */
static int tile_rows(int32_t rest) { return rest >= PATCH_ROWS ? PATCH_ROWS : (rest >= 2 ? 2 : 1); }

/* The patches of a layer one after the other: rows of an image, images. */
typedef struct {
    int64_t at; /* in what the layer reads */
    int32_t x, y;
} patch_walk;

PUF_INLINE void next_patch(const puf_layer *c, patch_walk *walk) {
    walk->at += c->column_step;
    if (++walk->x < c->width) { return; }
    walk->x = 0;
    walk->at += c->row_step - c->width * c->column_step;
    if (++walk->y < c->height) { return; }
    walk->y = 0;
    walk->at += c->image_step - c->height * c->row_step;
}

/* Patches of `images` images at x -> y (images, height, width, pad), before the activation. */
static void layer_forward(const puf_layer *c, int32_t images, const float *x, const float *packed, float *y) {
    const int32_t places = images * c->height * c->width, run = c->kernel * c->read;
    for (int32_t column = 0; column < c->pad; column += PANEL) {
        const int vecs = c->pad - column >= PANEL ? PATCH_VECS : 1;
        const float *panel = packed + c->wt + (int64_t)column * c->kernel * run;
        patch_walk walk = {0, 0, 0};
        const float *from[PATCH_ROWS];
        float *to[PATCH_ROWS];
        int rows;
        for (int32_t p = 0; p < places; p += rows) {
            rows = tile_rows(places - p);
            for (int m = 0; m < rows; m++) {
                from[m] = x + walk.at;
                to[m] = y + (int64_t)(p + m) * c->pad + column;
                next_patch(c, &walk);
            }
            patch_rows(rows, vecs, c->kernel, run, c->run_step, from, panel, vecs * VW,
                       packed + c->pb + column, 0, to);
        }
    }
}

/* Adds deltas (images, height, width, pad) x weights to the places in dx that the patches were read from. */
static void layer_input_gradient(const puf_layer *c, int32_t images, const float *delta, const float *packed, float *dx) {
    const int32_t places = images * c->height * c->width, run = c->kernel * c->read, all = c->kernel * run;
    int vecs;
    for (int32_t column = 0; column < all; column += vecs * VW) {
        vecs = run - column % run >= PANEL ? PATCH_VECS : 1; /* runs are whole vectors; a tile does not pass the end of one */
        const int64_t within = column / run * c->run_step + column % run;
        patch_walk walk = {0, 0, 0};
        const float *from[PATCH_ROWS];
        float *to[PATCH_ROWS];
        int rows;
        for (int32_t p = 0; p < places; p += rows) {
            rows = tile_rows(places - p);
            for (int m = 0; m < rows; m++) {
                from[m] = delta + (int64_t)(p + m) * c->pad;
                to[m] = dx + walk.at + within;
                next_patch(c, &walk);
            }
            patch_rows(rows, vecs, 1, c->out, 0, from, packed + c->wc + (int64_t)column * c->out, vecs * VW, NULL, 1, to);
        }
    }
}

/* g[k][v] += sum over places of x[place + k] * delta[place][v]. */
PUF_INLINE void weight_tile(int rows, int vecs, const puf_layer *c, int32_t images, const float *PUF_RESTRICT x,
                            const float *PUF_RESTRICT delta, float *PUF_RESTRICT g) {
    vf acc[PATCH_ROWS][PATCH_VECS];
    for (int m = 0; m < rows; m++) {
        for (int v = 0; v < vecs; v++) { acc[m][v] = vload(g + (m * vecs + v) * VW); }
    }
    /* Where there is one place in an image, the images are the columns. */
    const int one = c->height * c->width == 1;
    const int32_t outer = one ? 1 : images, width = one ? images : c->width;
    const int64_t step = one ? c->image_step : c->column_step, pad = c->pad;
    for (int32_t i = 0; i < outer; i++) {
        for (int32_t row = 0; row < c->height; row++) {
            const float *a = x + i * c->image_step + row * c->row_step;
            for (int32_t column = 0; column < width; column++) {
                vf d[PATCH_VECS];
                for (int v = 0; v < vecs; v++) { d[v] = vload(delta + v * VW); }
                for (int m = 0; m < rows; m++) {
                    const vf w = vset(a[m]);
                    for (int v = 0; v < vecs; v++) { acc[m][v] = vfma(w, d[v], acc[m][v]); }
                }
                a += step;
                delta += pad;
            }
        }
    }
    for (int m = 0; m < rows; m++) {
        for (int v = 0; v < vecs; v++) { vstore(g + (m * vecs + v) * VW, acc[m][v]); }
    }
}

#define WEIGHT_CASE(R) \
    if (vecs == 2) { \
        weight_tile(R, 2, c, images, a, d, g); \
    } else { \
        weight_tile(R, 1, c, images, a, d, g); \
    } \
    break;

static void layer_weight_gradient(const puf_layer *c, int32_t images, const float *x, const float *delta, float *grads) {
    const int32_t run = c->kernel * c->read;
    for (int32_t column = 0; column < c->pad; column += PANEL) {
        const int vecs = c->pad - column >= PANEL ? PATCH_VECS : 1;
        float *panel = grads + c->wt + (int64_t)column * c->kernel * run;
        const float *d = delta + column;
        for (int32_t ky = 0; ky < c->kernel; ky++) {
            int rows;
            for (int32_t k = 0; k < run; k += rows) {
                const float *a = x + ky * c->run_step + k;
                float *g = panel + ((int64_t)ky * run + k) * vecs * VW;
                rows = tile_rows(run - k);
                switch (rows) {
                    case PATCH_ROWS: WEIGHT_CASE(PATCH_ROWS)
                    case 2: WEIGHT_CASE(2)
                    default: WEIGHT_CASE(1)
                }
            }
        }
    }
}
#undef WEIGHT_CASE

/* --- packing ---------------------------------------------------------------------------------------------------------- */

/* Where row k of column j lies in panels of `rows` rows, of `columns` columns in all. */
static int64_t panel_place(int64_t rows, int32_t columns, int64_t k, int32_t j) {
    const int32_t first = j / PANEL * PANEL, wide = columns - first >= PANEL ? PANEL : columns - first;
    return first * rows + k * wide + (j - first);
}

static void layer_pack(const puf_layer *c, int first, const float *params, float *packed) {
    const int32_t size = c->kernel * c->kernel, run = c->kernel * c->read;
    for (int32_t f = 0; f < c->out; f++) {
        for (int32_t channel = 0; channel < c->channels; channel++) {
            const float *w = params + c->w + ((int64_t)f * c->channels + channel) * size;
            for (int32_t k = 0; k < size; k++) { /* (ky, kx) */
                const int32_t at = k * c->read + channel;
                packed[c->wt + panel_place((int64_t)size * c->read, c->pad, at, f)] = w[k];
                if (!first) { packed[c->wc + (int64_t)(at / run) * run * c->out + panel_place(c->out, run, f, at % run)] = w[k]; }
            }
        }
    }
    puf_copy(packed + c->pb, params + c->b, (size_t)c->out * 4);
}

static void layer_unpack(const puf_layer *c, const float *packed, float *grads) {
    const int32_t size = c->kernel * c->kernel;
    for (int32_t f = 0; f < c->out; f++) {
        for (int32_t channel = 0; channel < c->channels; channel++) {
            float *g = grads + c->w + ((int64_t)f * c->channels + channel) * size;
            for (int32_t k = 0; k < size; k++) {
                g[k] = packed[c->wt + panel_place((int64_t)size * c->read, c->pad, (int64_t)k * c->read + channel, f)];
            }
        }
    }
    puf_copy(grads + c->b, packed + c->pb, (size_t)c->out * 4);
}

/* --- all encoders of a tower ------------------------------------------------------------------------------------------ */

/* Moves what the last layer gives (images, places, pad) to the rows of all encoders (images, ld), or back. */
static void join(const puf_layer *c, int32_t images, float *y, float *row, int64_t ld, int back) {
    const int32_t places = c->height * c->width;
    for (int32_t i = 0; i < images; i++) {
        for (int32_t p = 0; p < places; p++) {
            float *own = y + ((int64_t)i * places + p) * c->pad, *joined = row + i * ld + (int64_t)p * c->out;
            puf_copy(back ? own : joined, back ? joined : own, (size_t)c->out * 4);
        }
    }
}

static void encode(const puf_layout *l, const puf_tower *tower, const float *packed, float *scratch, int32_t rows) {
    const int64_t obs = l->net.obs_size, ld = tower->in[0];
    for (int32_t e = 0; e < l->net.encoders; e++) {
        const puf_reader *reader = &tower->reader[e];
        const float *in = scratch + l->in + reader->first;
        float *out = scratch + tower->x + reader->joined;
        if (reader->layers == 0) {
            for (int32_t i = 0; i < rows; i++) { puf_copy(out + i * ld, in + i * obs, (size_t)reader->size * 4); }
            continue;
        }
        for (int32_t i = 0; i < rows; i += reader->group) { /* of the last group, some rows may have no meaning */
            const float *x = in + i * obs;
            for (int32_t k = 0; k < reader->layers; k++) {
                const puf_layer *c = &reader->layer[k];
                const int64_t size = (int64_t)c->height * c->width * c->pad;
                float *y = scratch + c->act + i * size;
                layer_forward(c, reader->group, x, packed, y);
                activate(y, reader->group * size, l->net.activation);
                x = y;
                if (k == reader->layers - 1) { join(c, reader->group, y, out + i * ld, ld, 0); }
            }
        }
    }
}

/* delta (PUF_SLICE, in_pad[0]): of what the encoders gave. */
static void encode_backward(const puf_layout *l, const puf_tower *tower, const float *packed, float *scratch, float *delta,
                            float *grads) {
    const int64_t obs = l->net.obs_size, ld = tower->in_pad[0];
    for (int32_t e = 0; e < l->net.encoders; e++) {
        const puf_reader *reader = &tower->reader[e];
        const int32_t group = reader->group, last = reader->layers - 1;
        for (int32_t i = 0; last >= 0 && i < PUF_SLICE; i += group) {
            float *d = scratch + tower->patch_delta[0], *dx = scratch + tower->patch_delta[1];
            const puf_layer *top = &reader->layer[last];
            puf_zero(d, (size_t)group * top->height * top->width * top->pad * 4);
            join(top, group, d, delta + i * ld + reader->joined, ld, 1);
            for (int32_t k = last; k >= 0; k--) {
                const puf_layer *c = &reader->layer[k], *below = c - 1;
                const int32_t places = c->height * c->width;
                activation_backward(d, scratch + c->act + (int64_t)i * places * c->pad, group * places, c->pad,
                                    l->net.activation, grads + c->pb);
                const float *x = k > 0 ? scratch + below->act + i * c->image_step : scratch + l->in + reader->first + i * obs;
                layer_weight_gradient(c, group, x, d, grads);
                if (k > 0) {
                    puf_zero(dx, (size_t)(group * c->image_step) * 4);
                    layer_input_gradient(c, group, d, packed, dx);
                    float *swap = d;
                    d = dx;
                    dx = swap;
                }
            }
        }
    }
}

static void encoders_pack(const puf_layout *l, const puf_tower *tower, const float *params, float *packed) {
    for (int32_t e = 0; e < l->net.encoders; e++) {
        for (int32_t k = 0; k < tower->reader[e].layers; k++) {
            layer_pack(&tower->reader[e].layer[k], k == 0, params, packed);
        }
    }
}

static void encoders_unpack(const puf_layout *l, const puf_tower *tower, const float *packed, float *grads) {
    for (int32_t e = 0; e < l->net.encoders; e++) {
        for (int32_t k = 0; k < tower->reader[e].layers; k++) { layer_unpack(&tower->reader[e].layer[k], packed, grads); }
    }
}
