#include "puffer/lean.h"

#include "puffer/math.h"
#include "puffer/walk.h"

/* --- sizes ------------------------------------------------------------------------------------------------------------ */

int64_t puf_lean_params(const puf_net *net) {
    puf_tensor t;
    for (int32_t i = 0; puf_net_tensor(net, i, &t) == PUF_OK; i++) {
        if (t.part == 3 && t.bias) { return t.offset + t.rows; }
    }
    return 0;
}

int32_t puf_lean_carry(const puf_net *net) { return puf_net_carry(net) / (net->separate ? 2 : 1); }

/* Numbers of the largest layer, or of what a core hands on: one of the two buffers between which a row passes. */
static int32_t widest(const puf_net *net) {
    int32_t most = puf_lean_carry(net);
    for (int32_t k = 0; k < net->layers; k++) { most = net->width[k] > most ? net->width[k] : most; }
    for (int32_t e = 0; e < net->encoders; e++) {
        puf_encoder part = net->encoder[e];
        for (; part.layers > 0; part.layers--) {
            const int32_t size = puf_encoder_size(&part);
            most = size > most ? size : most;
        }
    }
    return most;
}

/* What the encoders give, if there are any, lies between the inputs and the buffers. */
static int32_t joined_size(const puf_net *net) { return net->encoders > 0 ? puf_net_encoded(net) : 0; }

int64_t puf_lean_scratch(const puf_net *net) { return (int64_t)net->obs_size + joined_size(net) + 2 * (int64_t)widest(net); }

/* --- layers: each returns the parameters that follow its own ------------------------------------------------------------ */

static float dot(const float *a, const float *b, int32_t n, float start) {
    for (int32_t i = 0; i < n; i++) { start += a[i] * b[i]; }
    return start;
}

/* A function of its own: inlined at every place it would be most of the code. */
static float hyperbolic(float x) { return puf_tanh(x); }

static float logistic(float x) { return 0.5f * hyperbolic(0.5f * x) + 0.5f; }

static float activated(const puf_net *net, float x) { return net->activation == PUF_RELU ? puf_max(x, 0.0f) : hyperbolic(x); }

/* `net` is NULL for heads, which are not activated. */
static const float *dense(puf_walk *w, const puf_net *net, const float *params, const float *x, int32_t in, float *out,
                          int32_t rows) {
    const float *bias = params + (ptrdiff_t)rows * in;
    const int32_t cost = in + (net != NULL ? PUF_LEAN_TANH : 0);
    for (int32_t r = puf_walk_next(w); puf_walk_take(w, r, rows, cost); r++) {
        const float sum = dot(params + (ptrdiff_t)r * in, x, in, bias[r]);
        out[r] = net != NULL ? activated(net, sum) : sum;
    }
    puf_walk_pass(w, rows);
    return bias + rows;
}

/* What a filter w (channels, kernel, kernel) makes of the patch that begins at x; rows of the image are `run` numbers. */
static float patch(const float *w, const float *x, int32_t channels, int32_t kernel, int32_t run, float start) {
    for (int32_t c = 0; c < channels; c++) {
        for (int32_t row = 0; row < kernel; row++) {
            const float *from = x + (ptrdiff_t)row * run + c;
            for (int32_t column = 0; column < kernel; column++) { start += *w++ * from[column * channels]; }
        }
    }
    return start;
}

/* x of shape height, width, channels -> out (places, filters). */
static const float *convolve(puf_walk *w, const puf_net *net, const float *params, const float *x, const puf_encoder *e,
                             int32_t layer, const int32_t *shape, float *out) {
    const int32_t kernel = e->kernel[layer], stride = e->stride[layer], filters = e->out[layer];
    const int32_t channels = shape[2], run = shape[1] * channels, weights = channels * kernel * kernel;
    const int32_t columns = (shape[1] - kernel) / stride + 1, units = ((shape[0] - kernel) / stride + 1) * columns * filters;
    const float *bias = params + (ptrdiff_t)filters * weights;
    for (int32_t u = puf_walk_next(w); puf_walk_take(w, u, units, weights + PUF_LEAN_TANH); u++) {
        const int32_t place = u / filters, f = u % filters;
        const float *from = x + (ptrdiff_t)(place / columns) * stride * run + place % columns * stride * channels;
        out[u] = activated(net, patch(params + (ptrdiff_t)f * weights, from, channels, kernel, run, bias[f]));
    }
    puf_walk_pass(w, units);
    return bias + filters;
}

/* Reads x (size) through the layers of an encoder into out; `buffer` is two blocks of `block` numbers. */
static const float *encode(puf_walk *w, const puf_net *net, const puf_encoder *encoder, const float *params, const float *x,
                           float *buffer, int32_t block, float *out) {
    int32_t shape[3] = {encoder->height, encoder->width, encoder->channels};
    if (encoder->layers == 0) {
        for (int32_t i = puf_walk_next(w); puf_walk_take(w, i, encoder->size, 1); i++) { out[i] = x[i]; }
        puf_walk_pass(w, encoder->size);
    }
    for (int32_t k = 0; k < encoder->layers; k++) {
        const int32_t in = k == 0 ? encoder->size : encoder->out[k - 1];
        float *to = k + 1 == encoder->layers ? out : buffer + (ptrdiff_t)(k % 2) * block;
        params = shape[2] > 0 ? convolve(w, net, params, x, encoder, k, shape, to) : dense(w, net, params, x, in, to, encoder->out[k]);
        for (int i = 0; shape[2] > 0 && i < 2; i++) { shape[i] = (shape[i] - encoder->kernel[k]) / encoder->stride[k] + 1; }
        shape[2] = shape[2] > 0 ? encoder->out[k] : 0;
        x = to;
    }
    return params;
}

/* A recurrent core of H units over x (in): what it makes of the carry, h (H), then c (H) of an LSTM, goes to `after`. */
static const float *recur(puf_walk *w, const puf_net *net, const float *params, const float *x, int32_t in, const float *carry,
                          float *after) {
    const int32_t size = net->core_size, gates = net->core == PUF_LSTM ? 4 : 3;
    const int32_t cost = gates * (in + size) + (net->core == PUF_LSTM ? 5 : 3) * PUF_LEAN_TANH;
    const float *state = params + (ptrdiff_t)gates * size * in, *bias = state + (ptrdiff_t)gates * size * size;
    for (int32_t j = puf_walk_next(w); puf_walk_take(w, j, size, cost); j++) {
        float from_x[4], from_h[4];
        for (int32_t g = 0; g < gates; g++) {
            const int32_t row = g * size + j;
            from_x[g] = dot(params + (ptrdiff_t)row * in, x, in, bias[row]);
            from_h[g] = dot(state + (ptrdiff_t)row * size, carry, size, 0.0f);
        }
        if (net->core == PUF_LSTM) {
            const float i = logistic(from_x[0] + from_h[0]), f = logistic(from_x[1] + from_h[1]);
            const float g = hyperbolic(from_x[2] + from_h[2]), o = logistic(from_x[3] + from_h[3]);
            const float cell = f * carry[size + j] + i * g;
            after[size + j] = cell;
            after[j] = o * hyperbolic(cell);
        } else {
            const float r = logistic(from_x[0] + from_h[0]), z = logistic(from_x[1] + from_h[1]);
            const float n = hyperbolic(from_x[2] + r * from_h[2]);
            after[j] = n + z * (carry[j] - n);
        }
    }
    puf_walk_pass(w, size);
    return bias + gates * size;
}

/* --- a row ------------------------------------------------------------------------------------------------------------ */

/* Observations as the network reads them. Returns 0 if one is not finite. */
static int read_obs(const puf_lean *lean, const void *obs, float *in) {
    const int bytes = lean->net.obs_number == PUF_U8;
    for (int32_t i = 0; i < lean->net.obs_size; i++) {
        float x = bytes ? (float)((const uint8_t *)obs)[i] : ((const float *)obs)[i];
        if (!puf_finite(x)) { return 0; }
        if (lean->mean != NULL) { x = puf_clamp((x - lean->mean[i]) * lean->scale[i], -lean->clip, lean->clip); }
        in[i] = x;
    }
    return 1;
}

int puf_lean_begin(const puf_lean *lean, const void *obs, float *scratch, int32_t *at) {
    if (lean == NULL || obs == NULL || scratch == NULL || at == NULL || (lean->mean != NULL && lean->scale == NULL)) {
        return PUF_EINVAL;
    }
    *at = 0; /* numbers of scratch are lost even if an observation is not finite */
    if (!read_obs(lean, obs, scratch)) { return PUF_ENONFINITE; }
    *at = 1;
    return PUF_OK;
}

int puf_lean_continue(const puf_lean *lean, int32_t budget, int32_t *at, float *carry, float *scratch, float *heads) {
    if (lean == NULL || lean->params == NULL || budget < 1 || at == NULL || *at < 1 || scratch == NULL || heads == NULL ||
        (lean->net.core != PUF_NO_CORE) != (carry != NULL)) {
        return PUF_EINVAL;
    }
    const puf_net *net = &lean->net;
    puf_walk w = {.done = *at - 1, .budget = budget};
    float *joined = scratch + net->obs_size, *buffer = joined + joined_size(net);
    const int32_t block = widest(net);
    const float *params = lean->params, *x = scratch;
    int32_t in = net->obs_size;
    for (int32_t e = 0; e < net->encoders; e++) {
        params = encode(&w, net, &net->encoder[e], params, x, buffer, block, joined);
        x += net->encoder[e].size;
        joined += puf_encoder_size(&net->encoder[e]);
    }
    if (net->encoders > 0) {
        x = scratch + net->obs_size;
        in = puf_net_encoded(net);
    }
    for (int32_t k = 0; k < net->layers; k++) {
        float *to = buffer + (ptrdiff_t)(k % 2) * block;
        params = dense(&w, net, params, x, in, to, net->width[k]);
        x = to;
        in = net->width[k];
    }
    if (net->core != PUF_NO_CORE) {
        float *after = buffer + (ptrdiff_t)(net->layers % 2) * block;
        params = recur(&w, net, params, x, in, carry, after);
        x = after;
        in = net->core_size;
    }
    dense(&w, NULL, params, x, in, heads, puf_net_logits(net));
    *at = 1 + w.done;
    if (w.done < w.passed) { return PUF_LEAN_BUSY; }
    if (carry != NULL) { puf_copy(carry, x, (size_t)puf_lean_carry(net) * 4); }
    *at = 0;
    return PUF_OK;
}

int puf_lean_heads(const puf_lean *lean, const void *obs, float *carry, float *scratch, float *heads) {
    int32_t at = 0;
    int status = PUF_EINVAL;
    if (lean != NULL && lean->params != NULL && heads != NULL && (lean->net.core != PUF_NO_CORE) == (carry != NULL)) {
        status = puf_lean_begin(lean, obs, scratch, &at);
    }
    if (status == PUF_OK) {
        do { status = puf_lean_continue(lean, INT32_MAX, &at, carry, scratch, heads); } while (status == PUF_LEAN_BUSY);
    }
    return status;
}

int puf_lean_action(const puf_lean *lean, const float *heads, void *action) {
    if (lean == NULL || heads == NULL || action == NULL ||
        (lean->net.action_numbers > 0 && (lean->low == NULL || lean->high == NULL))) {
        return PUF_EINVAL;
    }
    const int32_t choices = lean->net.action_size - lean->net.action_numbers;
    int32_t *choice = (int32_t *)action;
    for (int32_t k = 0; k < choices; k++) {
        int32_t best = 0;
        for (int32_t i = 1; i < lean->net.action_n[k]; i++) { best = heads[i] > heads[best] ? i : best; }
        choice[k] = best;
        heads += lean->net.action_n[k];
    }
    float *number = (float *)action + choices;
    for (int32_t a = 0; a < lean->net.action_numbers; a++) {
        const float low = lean->low[a], high = lean->high[a];
        number[a] = lean->net.action_squash ? puf_squashed(heads[a], low, high) : puf_clamp(heads[a], low, high);
    }
    return PUF_OK;
}
