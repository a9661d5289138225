/* Recurrent cores: where their numbers lie, and what is handed on from step to step. The arithmetic is in core_simd.inl. */
#include "puffer/net.h"

static int32_t states(const puf_layout *l) { return l->net.core == PUF_LSTM ? 2 : 1; }

void puf_core_shapes(const puf_layout *l, puf_tower *tower, int32_t part) {
    puf_recurrent *core = &tower->core;
    const int32_t vector = l->vector, last = tower->layers - 1, size = l->net.core_size;
    const int32_t lstm = l->net.core == PUF_LSTM;
    core->size = size;
    core->size_pad = (size + vector - 1) / vector * vector;
    core->plane_row = (int64_t)4 * core->size_pad + 16;
    core->gates = lstm ? 4 : 3;
    core->products = lstm ? 2 : 3;
    core->first = part == 2 ? puf_net_carry(&l->net) / 2 : 0;
    int64_t w[2] = {0, 0};
    for (int32_t i = 0; i < puf_net_tensors(&l->net); i++) {
        puf_tensor t;
        puf_net_tensor(&l->net, i, &t);
        if (t.part == part && t.encoder == PUF_OWN_CORE) { *(t.bias ? &core->b : &w[t.layer]) = t.offset; }
    }
    const puf_product inputs = {.in = tower->out[last], .in_pad = tower->out_pad[last], .count = core->gates, .w = w[0]};
    const puf_product state = {.in = size, .in_pad = core->size_pad, .count = lstm ? 4 : 2, .w = w[1]};
    const puf_product rest = {.in = size, .in_pad = core->size_pad, .count = 1, .to = 3, .w = w[1] + (int64_t)2 * size * size};
    core->product[0] = inputs;
    core->product[1] = state;
    core->product[2] = rest;
    for (int32_t p = 0; p < 3; p++) { core->product[p].columns = core->product[p].count * core->size_pad; }
}

void puf_carry_begin(const puf_layout *l, float *scratch, int32_t r, const float *carry) {
    for (int32_t t = 0; t < l->towers; t++) {
        const puf_recurrent *core = &l->tower[t].core;
        for (int32_t k = 0; k < states(l); k++) {
            float *to = scratch + core->before + ((int64_t)k * PUF_SLICE + r) * core->size_pad;
            if (carry != NULL) {
                puf_copy(to, carry + core->first + k * core->size, (size_t)core->size * 4);
            } else {
                puf_zero(to, (size_t)core->size * 4);
            }
        }
    }
}

void puf_carry_load(const puf_layout *l, const float *carry, int32_t rows, float *scratch) {
    const int64_t wide = puf_net_carry(&l->net);
    for (int32_t r = 0; wide > 0 && r < rows; r++) { puf_carry_begin(l, scratch, r, carry + r * wide); }
}

void puf_carry_end(const puf_layout *l, const float *scratch, int32_t r, float *carry) {
    for (int32_t t = 0; t < l->towers; t++) {
        const puf_recurrent *core = &l->tower[t].core;
        for (int32_t k = 0; k < states(l); k++) {
            puf_copy(carry + core->first + k * core->size, scratch + core->after + ((int64_t)k * PUF_SLICE + r) * core->size_pad,
                     (size_t)core->size * 4);
        }
    }
}

void puf_carry_next(const puf_layout *l, const float *scratch, int32_t rows, float *next) {
    const uint8_t *memory = (const uint8_t *)(scratch + l->memory);
    for (int32_t t = 0; t < l->towers; t++) {
        const puf_recurrent *core = &l->tower[t].core;
        for (int32_t k = 0; k < states(l); k++) {
            for (int32_t r = 0; r < rows; r++) {
                const int64_t row = ((int64_t)k * PUF_SLICE + r) * core->size_pad;
                const size_t bytes = (size_t)core->size_pad * 4;
                if (memory[r] == PUF_FORGOTTEN) {
                    puf_zero(next + core->before + row, bytes);
                } else {
                    puf_copy(next + core->before + row, scratch + (memory[r] == PUF_KEPT ? core->before : core->after) + row,
                             bytes);
                }
            }
        }
    }
}
