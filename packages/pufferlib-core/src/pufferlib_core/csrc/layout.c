/* Where the numbers of a network lie: packed weights and gradients, and the scratch of a slice. */
#include "puffer/net.h"

static int32_t pad_to(int32_t n, int32_t vector) { return ((n + vector - 1) / vector) * vector; }

/* Next piece of a workspace, on a cache line. */
static int64_t take(int64_t *total, int64_t floats) {
    const int64_t here = *total;
    *total += (floats + 15) / 16 * 16;
    return here;
}

static int64_t place_count(const puf_layer *c) { return (int64_t)c->height * c->width; }

/* Shapes and steps of an encoder; the group is the least whose deltas fill the products that make weight gradients. */
static void reader_shapes(puf_layout *l, puf_reader *reader, const puf_encoder *encoder) {
    const int image = encoder->channels > 0;
    int32_t height = image ? encoder->height : 1, width = image ? encoder->width : 1;
    int32_t channels = image ? encoder->channels : encoder->size, read = channels;
    int64_t image_step = l->net.obs_size;
    reader->layers = encoder->layers;
    reader->size = encoder->size;
    for (int32_t k = 0; k < encoder->layers; k++) {
        puf_layer *c = &reader->layer[k];
        const int32_t stride = image ? encoder->stride[k] : 1;
        c->kernel = image ? encoder->kernel[k] : 1;
        c->channels = channels;
        c->read = read;
        c->height = (height - c->kernel) / stride + 1;
        c->width = (width - c->kernel) / stride + 1;
        c->out = encoder->out[k];
        c->pad = pad_to(c->out, l->vector);
        c->run_step = (int64_t)width * read;
        c->column_step = (int64_t)stride * read;
        c->row_step = stride * c->run_step;
        c->image_step = image_step;
        height = c->height;
        width = c->width;
        channels = c->out;
        read = c->pad;
        image_step = place_count(c) * c->pad;
    }
    reader->group = 1;
    while (reader->layers > 0 && reader->group < PUF_SLICE && reader->group * height * width < 64) { reader->group *= 2; }
}

static void tower_readers(puf_layout *l, puf_tower *tower) {
    int64_t first = 0, joined = 0;
    for (int32_t e = 0; e < l->net.encoders; e++) {
        puf_reader *reader = &tower->reader[e];
        reader_shapes(l, reader, &l->net.encoder[e]);
        reader->first = first;
        reader->joined = joined;
        first += reader->size;
        joined += puf_encoder_size(&l->net.encoder[e]);
    }
}

/* Packed weights and scratch of the encoders. */
static void take_readers(puf_layout *l, puf_tower *tower, int64_t *packed, int64_t *scratch) {
    int64_t widest = 0;
    tower->x = l->net.encoders > 0 ? take(scratch, (int64_t)PUF_SLICE * tower->in[0]) : l->in;
    for (int32_t e = 0; e < l->net.encoders; e++) {
        puf_reader *reader = &tower->reader[e];
        for (int32_t k = 0; k < reader->layers; k++) {
            puf_layer *c = &reader->layer[k];
            const int64_t size = place_count(c) * c->pad;
            c->wt = take(packed, (int64_t)c->kernel * c->kernel * c->read * c->pad);
            c->pb = take(packed, c->pad);
            c->act = take(scratch, PUF_SLICE * size);
            widest = reader->group * size > widest ? reader->group * size : widest;
        }
    }
    for (int i = 0; i < 2; i++) { tower->patch_delta[i] = take(scratch, widest); }
}

static void tower_shapes(puf_layout *l, puf_tower *tower, int32_t part) {
    tower_readers(l, tower);
    tower->layers = l->net.layers;
    for (int32_t k = 0; k < tower->layers; k++) {
        tower->in[k] = k == 0 ? puf_net_encoded(&l->net) : l->net.width[k - 1];
        tower->out[k] = l->net.width[k];
        tower->in_pad[k] = pad_to(tower->in[k], l->vector);
        tower->out_pad[k] = pad_to(tower->out[k], l->vector);
    }
    for (int32_t i = 0; i < puf_net_tensors(&l->net); i++) {
        puf_tensor t;
        puf_net_tensor(&l->net, i, &t);
        if (t.part != part) { continue; }
        if (t.encoder >= 0) {
            puf_layer *c = &tower->reader[t.encoder].layer[t.layer];
            *(t.bias ? &c->b : &c->w) = t.offset;
        } else if (t.encoder == PUF_OWN_LAYERS) {
            *(t.bias ? &tower->b[t.layer] : &tower->w[t.layer]) = t.offset;
        }
    }
    if (l->net.core != PUF_NO_CORE) { puf_core_shapes(l, tower, part); }
    tower->read = l->net.core != PUF_NO_CORE ? tower->core.size : tower->out[tower->layers - 1];
    tower->read_pad = pad_to(tower->read, l->vector);
}

/* Places of the core in a step's scratch, of its gradients (and weights) in the packed ones, and of its deltas. */
static void take_core(puf_layout *l, puf_tower *tower, int64_t *packed, int64_t *scratch) {
    puf_recurrent *core = &tower->core;
    const int64_t state = (int64_t)PUF_SLICE * core->size_pad, states = l->net.core == PUF_LSTM ? 2 : 1;
    for (int32_t p = 0; p < core->products; p++) {
        core->product[p].wt = take(packed, (int64_t)core->product[p].in * core->product[p].columns);
    }
    core->pb = take(packed, (int64_t)core->gates * core->size_pad);
    core->before = take(scratch, states * state);
    core->after = take(scratch, states * state);
    core->plane = take(scratch, PUF_SLICE * core->plane_row);
    core->delta = take(&l->carried, states * state);
}

/* Packed weights and gradients of a tower, but for the second copy of the weights, and its scratch. */
static void take_tower(puf_layout *l, puf_tower *tower, int64_t *packed, int64_t *scratch) {
    take_readers(l, tower, packed, scratch);
    int32_t widest = l->net.encoders > 0 ? tower->in_pad[0] : 0;
    for (int32_t k = 0; k < tower->layers; k++) {
        tower->wt[k] = take(packed, (int64_t)tower->in[k] * tower->out_pad[k]);
        tower->pb[k] = take(packed, tower->out_pad[k]);
        tower->act[k] = take(scratch, (int64_t)PUF_SLICE * tower->out_pad[k]);
        widest = tower->out_pad[k] > widest ? tower->out_pad[k] : widest;
    }
    tower->output = tower->act[tower->layers - 1];
    if (tower->core.size > 0) {
        take_core(l, tower, packed, scratch);
        tower->output = tower->core.after;
        widest = tower->read_pad > widest ? tower->read_pad : widest;
    }
    tower->head = take(packed, (int64_t)tower->head_rows * tower->read_pad);
    tower->head_bias = take(packed, tower->head_rows);
    int64_t *work = tower->core.size > 0 ? &l->carried : scratch;
    for (int i = 0; i < 2; i++) { tower->delta[i] = take(work, (int64_t)PUF_SLICE * widest); }
}

void puf_layout_make(puf_layout *l, const puf_net *net, int32_t vector) {
    puf_zero(l, sizeof *l);
    l->net = *net;
    l->vector = vector;
    l->towers = net->separate ? 2 : 1;
    l->logits = puf_net_logits(net);
    l->dist.size = net->action_size;
    l->dist.numbers = net->action_numbers;
    l->dist.logits = l->logits;
    l->dist.squash = net->action_squash;
    for (int32_t k = 0; k < PUF_MAX_HEADS; k++) { l->dist.n[k] = net->action_n[k]; }
    l->params = puf_net_params(net);
    for (int32_t i = 0; i < puf_net_tensors(net); i++) {
        puf_tensor t;
        puf_net_tensor(net, i, &t);
        if (t.part == 3 || t.part == 4) { *(t.bias ? &l->head_b[t.part - 3] : &l->head_w[t.part - 3]) = t.offset; }
        if (t.part == 5) { l->log_std = t.offset; }
    }
    /* Gradients use the first part of the packed layout: everything but the second copy of the weights. */
    int64_t packed = 0, scratch = 0;
    l->in = take(&scratch, (int64_t)PUF_SLICE * net->obs_size);
    l->heads = take(&scratch, (int64_t)(l->logits + 1) * PUF_SLICE);
    l->row = take(&scratch, (int64_t)(PUF_ROW_COUNT + 3 * l->net.action_size) * PUF_SLICE);
    if (net->core != PUF_NO_CORE) { l->memory = take(&scratch, PUF_SLICE / 4); }
    for (int32_t t = 0; t < l->towers; t++) {
        puf_tower *tower = &l->tower[t];
        tower_shapes(l, tower, net->separate ? 1 + t : 0);
        tower->head_first = t == 0 ? 0 : l->logits;
        tower->head_rows = net->separate ? (t == 0 ? l->logits : 1) : l->logits + 1;
        take_tower(l, tower, &packed, &scratch);
    }
    l->grad_log_std = take(&packed, net->action_size);
    l->grads = packed;
    for (int32_t t = 0; t < l->towers; t++) {
        puf_tower *tower = &l->tower[t];
        for (int32_t e = 0; e < net->encoders; e++) {
            for (int32_t k = 1; k < tower->reader[e].layers; k++) {
                puf_layer *c = &tower->reader[e].layer[k];
                c->wc = take(&packed, (int64_t)c->out * c->kernel * c->kernel * c->read);
            }
        }
        for (int32_t k = net->encoders > 0 ? 0 : 1; k < tower->layers; k++) {
            tower->wc[k] = take(&packed, (int64_t)tower->out[k] * tower->in_pad[k]);
        }
        for (int32_t p = 0; p < tower->core.products; p++) {
            puf_product *m = &tower->core.product[p];
            m->wc = take(&packed, (int64_t)m->columns * m->in_pad);
        }
    }
    l->packed = packed;
    l->scratch = scratch;
}
