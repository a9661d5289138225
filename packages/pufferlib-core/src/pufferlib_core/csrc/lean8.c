#include "puffer/lean8.h"

#include "puffer/math.h"
#include "puffer/walk.h"

enum {
    BYTE = 127,         /* 1, of numbers between layers */
    ONE = 1 << 15,      /* 1, of what tanh and the logistic function give, and of h */
    UNIT_BITS = 12,     /* what they are given is in units of 2^-12 */
    FAR = 65535,        /* at most; times ONE it still fits 32 bits, with the half that rounds */
    WORD = 32767,
    HEAD = 1 << 24,     /* largest whole number whose neighbours are floats */
    INTERVALS = 256     /* of the table */
};

/* tanh(k / 32) in units of 1 / ONE. */
static const uint16_t TANH[INTERVALS + 1] = {
    0, 1024, 2045, 3063, 4075, 5079, 6073, 7056, 8025, 8980, 9919, 10840, 11743, 12625, 13486, 14326, 15143, 15936, 16706,
    17452, 18173, 18870, 19542, 20189, 20813, 21411, 21986, 22538, 23066, 23571, 24054, 24516, 24956, 25376, 25776, 26157,
    26519, 26864, 27191, 27502, 27797, 28076, 28341, 28592, 28830, 29055, 29268, 29470, 29660, 29840, 30010, 30170, 30322,
    30465, 30600, 30727, 30847, 30960, 31067, 31167, 31262, 31351, 31435, 31515, 31589, 31659, 31726, 31788, 31846, 31901,
    31953, 32002, 32048, 32091, 32132, 32170, 32206, 32240, 32271, 32301, 32329, 32356, 32381, 32404, 32426, 32447, 32466,
    32484, 32501, 32517, 32532, 32547, 32560, 32573, 32584, 32596, 32606, 32616, 32625, 32634, 32642, 32649, 32657, 32663,
    32670, 32676, 32681, 32686, 32691, 32696, 32700, 32704, 32708, 32712, 32715, 32718, 32721, 32724, 32727, 32729, 32732,
    32734, 32736, 32738, 32740, 32741, 32743, 32745, 32746, 32747, 32749, 32750, 32751, 32752, 32753, 32754, 32755, 32755,
    32756, 32757, 32758, 32758, 32759, 32759, 32760, 32760, 32761, 32761, 32762, 32762, 32762, 32763, 32763, 32763, 32764,
    32764, 32764, 32764, 32765, 32765, 32765, 32765, 32765, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768,
    32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768,
    32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768,
    32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768, 32768,
};

/* --- arithmetic ------------------------------------------------------------------------------------------------------- */

static int32_t limited(int64_t x, int32_t least, int32_t most) {
    return x < least ? least : (x > most ? most : (int32_t)x);
}

/* x / 2^bits, rounded to the nearest, ties upwards; bits > 0. Shifts of negative numbers are not C's to define. */
static int32_t rounded(int32_t x, int32_t bits) {
    x += (int32_t)1 << (bits - 1);
    return x >= 0 ? x >> bits : ~(~x >> bits);
}

/* A sum in units of its row -> those of the multiplier, within [-most, most]. */
static int32_t rescaled(int32_t sum, int32_t multiplier, int32_t shift, int32_t most) {
    const int64_t x = (int64_t)sum * multiplier + ((int64_t)1 << (shift - 1));
    return limited(x >= 0 ? x >> shift : ~(~x >> shift), -most, most);
}

/* tanh(x / 2^bits / 32) in units of 1 / ONE: between two entries of the table. */
static int32_t from_table(int32_t x, int32_t bits) {
    const int32_t size = x < 0 ? -x : x, last = (INTERVALS << bits) - 1, at = size < last ? size : last;
    const int32_t k = at >> bits, rest = at - (k << bits);
    const int32_t y = TANH[k] + rounded((TANH[k + 1] - TANH[k]) * rest, bits);
    return x < 0 ? -y : y;
}

static int32_t hyperbolic(int32_t x) { return from_table(x, UNIT_BITS - 5); }

/* 1 / (1 + e^-x) = (tanh(x / 2) + 1) / 2, of which the last half is rounded down. */
static int32_t logistic(int32_t x) { return (from_table(x, UNIT_BITS - 4) + ONE) >> 1; }

/* Of a number in units of 1 / ONE. */
static int8_t byte_of(int32_t x) { return (int8_t)rounded(x * BYTE, 15); }

static int8_t active(const puf_net *net, int32_t x) {
    return net->activation == PUF_RELU ? (int8_t)(limited(x, 0, 255) - 128) : byte_of(hyperbolic(x));
}

/* --- layers ----------------------------------------------------------------------------------------------------------- */

/* What follows of a policy, the walk through it, and scratch, at whose two ends layers write in turn. */
typedef struct {
    const puf_net *net;
    const int8_t *weight;
    const int32_t *bias, *multiplier;
    const uint8_t *shift;
    puf_walk walk;
    int8_t *first, *end;
    int32_t turn;
} puf_pass8;

static int8_t *room(puf_pass8 *pass, int32_t size) {
    pass->turn = !pass->turn;
    return pass->turn ? pass->end - size : pass->first;
}

static int32_t dot(const int8_t *a, const int8_t *b, int32_t n, int32_t start) {
    for (int32_t i = 0; i < n; i++) { start += a[i] * b[i]; }
    return start;
}

/* What row r of the next matrix makes of x (in). */
static int32_t row_of(const puf_pass8 *pass, int32_t r, const int8_t *x, int32_t in, int32_t most) {
    const int32_t sum = dot(pass->weight + (ptrdiff_t)r * in, x, in, pass->bias[r]);
    return rescaled(sum, pass->multiplier[r], *pass->shift, most);
}

static void next_matrix(puf_pass8 *pass, int32_t rows, int32_t columns) {
    pass->weight += (ptrdiff_t)rows * columns;
    pass->bias += rows;
    pass->multiplier += rows;
    pass->shift++;
}

static void dense(puf_pass8 *pass, const int8_t *x, int32_t in, int8_t *out, int32_t rows) {
    for (int32_t r = puf_walk_next(&pass->walk); puf_walk_take(&pass->walk, r, rows, in + PUF_LEAN_TANH); r++) {
        out[r] = active(pass->net, row_of(pass, r, x, in, FAR));
    }
    puf_walk_pass(&pass->walk, rows);
    next_matrix(pass, rows, in);
}

/* x of shape height, width, channels -> out (places, filters), active. */
static void convolve(puf_pass8 *pass, const int8_t *x, const int32_t *shape, int32_t kernel, int32_t stride, int32_t filters,
                     int8_t *out) {
    const int32_t columns = kernel * shape[2], run = shape[1] * shape[2], weights = kernel * columns;
    const int32_t across = (shape[1] - kernel) / stride + 1, units = ((shape[0] - kernel) / stride + 1) * across * filters;
    for (int32_t u = puf_walk_next(&pass->walk); puf_walk_take(&pass->walk, u, units, weights + PUF_LEAN_TANH); u++) {
        const int32_t place = u / filters, f = u % filters;
        const int8_t *w = pass->weight + (ptrdiff_t)f * weights;
        const int8_t *from = x + (ptrdiff_t)(place / across) * stride * run + place % across * stride * shape[2];
        int32_t sum = pass->bias[f];
        for (int32_t row = 0; row < kernel; row++) { sum = dot(w + row * columns, from + row * run, columns, sum); }
        out[u] = active(pass->net, rescaled(sum, pass->multiplier[f], *pass->shift, FAR));
    }
    puf_walk_pass(&pass->walk, units);
    next_matrix(pass, filters, weights);
}

/* Reads x through the layers of an encoder into out. */
static void encode(puf_pass8 *pass, const puf_encoder *encoder, const int8_t *x, int8_t *out) {
    int32_t shape[3] = {encoder->height, encoder->width, encoder->channels};
    puf_encoder until = *encoder;
    if (encoder->layers == 0) {
        for (int32_t i = puf_walk_next(&pass->walk); puf_walk_take(&pass->walk, i, encoder->size, 1); i++) { out[i] = x[i]; }
        puf_walk_pass(&pass->walk, encoder->size);
    }
    for (int32_t k = 0; k < encoder->layers; k++) {
        const int32_t kernel = encoder->kernel[k], stride = encoder->stride[k];
        until.layers = k + 1;
        int8_t *to = k + 1 == encoder->layers ? out : room(pass, puf_encoder_size(&until));
        if (shape[2] == 0) {
            dense(pass, x, k == 0 ? encoder->size : encoder->out[k - 1], to, encoder->out[k]);
        } else {
            convolve(pass, x, shape, kernel, stride, encoder->out[k], to);
            for (int i = 0; i < 2; i++) { shape[i] = (shape[i] - kernel) / stride + 1; }
            shape[2] = encoder->out[k];
        }
        x = to;
    }
}

/* What a core hands on of one number, from the sums of its gates. */
static void unit_of_lstm(const int32_t *from_x, const int32_t *from_h, int32_t bits, const int16_t *c, int16_t *h_after,
                         int16_t *c_after) {
    const int32_t i = logistic(from_x[0] + from_h[0]), f = logistic(from_x[1] + from_h[1]);
    const int32_t g = hyperbolic(from_x[2] + from_h[2]), o = logistic(from_x[3] + from_h[3]);
    const int32_t cell = limited(rounded(f * *c, 15) + rounded(i * g, 30 - bits), -WORD, WORD);
    *c_after = (int16_t)cell;
    *h_after = (int16_t)limited(rounded(o * hyperbolic(cell * (1 << (UNIT_BITS - bits))), 15), -WORD, WORD);
}

static void unit_of_gru(const int32_t *from_x, const int32_t *from_h, int32_t h, int16_t *after) {
    const int32_t r = logistic(from_x[0] + from_h[0]), z = logistic(from_x[1] + from_h[1]);
    const int32_t n = hyperbolic(from_x[2] + rounded(r * from_h[2], 15));
    *after = (int16_t)limited(n + rounded(z * (h - n), 15), -WORD, WORD);
}

/* Numbers in units of 1 / ONE as bytes. */
static void bytes_of(puf_pass8 *pass, const int16_t *h, int8_t *out, int32_t size) {
    for (int32_t j = puf_walk_next(&pass->walk); puf_walk_take(&pass->walk, j, size, 1); j++) { out[j] = byte_of(h[j]); }
    puf_walk_pass(&pass->walk, size);
}

/* A recurrent core over x (in): what it makes of carry goes to `after`; returns its h (H) as bytes. */
static const int8_t *recur(puf_pass8 *pass, const int8_t *x, int32_t in, int32_t bits, const int16_t *carry, int16_t *after) {
    const int lstm = pass->net->core == PUF_LSTM;
    const int32_t size = pass->net->core_size, gates = lstm ? 4 : 3, rows = gates * size;
    const int32_t cost = gates * (in + size) + (lstm ? 5 : 3) * PUF_LEAN_TANH;
    int8_t *h = room(pass, size);
    bytes_of(pass, carry, h, size);
    puf_pass8 state = *pass;
    next_matrix(&state, rows, in);
    for (int32_t j = puf_walk_next(&pass->walk); puf_walk_take(&pass->walk, j, size, cost); j++) {
        int32_t from_x[4], from_h[4];
        for (int32_t g = 0; g < gates; g++) {
            from_x[g] = row_of(pass, g * size + j, x, in, FAR);
            from_h[g] = row_of(&state, g * size + j, h, size, FAR);
        }
        if (lstm) {
            unit_of_lstm(from_x, from_h, bits, &carry[size + j], &after[j], &after[size + j]);
        } else {
            unit_of_gru(from_x, from_h, carry[j], &after[j]);
        }
    }
    puf_walk_pass(&pass->walk, size);
    bytes_of(pass, after, h, size);
    next_matrix(pass, rows, in);
    next_matrix(pass, rows, size);
    return h;
}

/* --- a row ------------------------------------------------------------------------------------------------------------ */

/* Observations as the network reads them. Returns 0 if one is not finite. */
static int read_obs(const puf_lean *lean, const void *obs, int8_t *in) {
    const int bytes = lean->net.obs_number == PUF_U8;
    for (int32_t i = 0; i < lean->net.obs_size; i++) {
        if (lean->mean == NULL) {
            in[i] = (int8_t)(((const uint8_t *)obs)[i] - 128);
            continue;
        }
        const float x = bytes ? (float)((const uint8_t *)obs)[i] : ((const float *)obs)[i];
        if (!puf_finite(x)) { return 0; }
        const float scaled = puf_clamp((x - lean->mean[i]) * lean->scale[i], -lean->clip, lean->clip);
        in[i] = (int8_t)((int32_t)(scaled + 128.5f) - 128); /* above 0, where a conversion rounds down */
    }
    return 1;
}

int puf_lean8_begin(const puf_lean8 *lean8, const void *obs, int8_t *scratch, int32_t *at) {
    if (lean8 == NULL || obs == NULL || scratch == NULL || at == NULL || (lean8->lean.mean == NULL) != (lean8->lean.scale == NULL) ||
        (lean8->lean.mean == NULL && lean8->lean.net.obs_number != PUF_U8)) {
        return PUF_EINVAL;
    }
    *at = 0; /* numbers of scratch are lost even if an observation is not finite */
    if (!read_obs(&lean8->lean, obs, scratch)) { return PUF_ENONFINITE; }
    *at = 1;
    return PUF_OK;
}

static int complete(const puf_lean8 *lean8, const int16_t *carry, const float *heads) {
    return lean8 != NULL && lean8->weight != NULL && lean8->bias != NULL && lean8->multiplier != NULL && lean8->shift != NULL &&
           heads != NULL && (lean8->lean.net.core != PUF_NO_CORE) == (carry != NULL);
}

int puf_lean8_continue(const puf_lean8 *lean8, int32_t budget, int32_t *at, int16_t *carry, int8_t *scratch, float *heads) {
    if (!complete(lean8, carry, heads) || budget < 1 || at == NULL || *at < 1 || scratch == NULL) { return PUF_EINVAL; }
    const puf_net *net = &lean8->lean.net;
    const int32_t carried = puf_lean_carry(net);
    int32_t in = puf_net_encoded(net);
    int8_t *joined = scratch + net->obs_size;
    puf_pass8 pass = {.net = net, .weight = lean8->weight, .bias = lean8->bias, .multiplier = lean8->multiplier,
                      .shift = lean8->shift, .walk = {.done = *at - 1, .budget = budget},
                      .first = joined + (net->encoders > 0 ? in : 0), .end = scratch + puf_lean_scratch(net)};
    const int8_t *x = scratch;
    for (int32_t e = 0; e < net->encoders; e++) {
        encode(&pass, &net->encoder[e], x, joined);
        x += net->encoder[e].size;
        joined += puf_encoder_size(&net->encoder[e]);
    }
    if (net->encoders > 0) { x = scratch + net->obs_size; }
    for (int32_t k = 0; k < net->layers; k++) {
        int8_t *to = room(&pass, net->width[k]);
        dense(&pass, x, in, to, net->width[k]);
        x = to;
        in = net->width[k];
    }
    if (net->core != PUF_NO_CORE) {
        x = recur(&pass, x, in, lean8->cell, carry, carry + carried);
        in = net->core_size;
    }
    const float unit = puf_from_bits((uint32_t)(127 - lean8->point) << 23);
    const int32_t logits = puf_net_logits(net);
    for (int32_t r = puf_walk_next(&pass.walk); puf_walk_take(&pass.walk, r, logits, in); r++) {
        heads[r] = (float)row_of(&pass, r, x, in, HEAD) * unit;
    }
    puf_walk_pass(&pass.walk, logits);
    *at = 1 + pass.walk.done;
    if (pass.walk.done < pass.walk.passed) { return PUF_LEAN_BUSY; }
    for (int32_t i = 0; i < carried; i++) { carry[i] = carry[carried + i]; }
    *at = 0;
    return PUF_OK;
}

int puf_lean8_heads(const puf_lean8 *lean8, const void *obs, int16_t *carry, int8_t *scratch, float *heads) {
    int32_t at = 0;
    int status = complete(lean8, carry, heads) ? puf_lean8_begin(lean8, obs, scratch, &at) : PUF_EINVAL;
    if (status == PUF_OK) {
        do { status = puf_lean8_continue(lean8, INT32_MAX, &at, carry, scratch, heads); } while (status == PUF_LEAN_BUSY);
    }
    return status;
}
