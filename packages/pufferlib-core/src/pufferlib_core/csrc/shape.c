/* Sizes of a network, and where its tensors lie in the flat vector. */
#include "puffer/net.h"

enum { PUF_MAX_OBS = 1 << 20 };

static int encoder_legal(const puf_encoder *e) {
    if (e->size < 1 || e->layers < 0 || e->layers > PUF_MAX_ENCODER_LAYERS) { return 0; }
    int32_t height = e->height, width = e->width;
    const int image = height != 0 || width != 0 || e->channels != 0;
    if (image && (height < 1 || width < 1 || e->channels < 1 || (int64_t)height * width * e->channels != e->size)) { return 0; }
    for (int32_t k = 0; k < e->layers; k++) {
        if (e->out[k] < 1 || e->out[k] > PUF_MAX_WIDTH) { return 0; }
        if (!image) { continue; }
        if (e->kernel[k] < 1 || e->stride[k] < 1 || e->kernel[k] > height || e->kernel[k] > width) { return 0; }
        height = (height - e->kernel[k]) / e->stride[k] + 1;
        width = (width - e->kernel[k]) / e->stride[k] + 1;
        if ((int64_t)height * width * e->out[k] > PUF_MAX_OBS) { return 0; }
    }
    return 1;
}

int puf_net_check(const puf_net *net) {
    if (net == NULL || (net->obs_number != PUF_F32 && net->obs_number != PUF_U8) || net->obs_size < 1 ||
        net->obs_size > PUF_MAX_OBS || net->layers < 1 || net->layers > PUF_MAX_LAYERS || net->activation < PUF_TANH ||
        net->activation > PUF_RELU || net->action_size < 1 || net->encoders < 0 || net->encoders > PUF_MAX_ENCODERS ||
        net->core < PUF_NO_CORE || net->core > PUF_GRU || (net->core != PUF_NO_CORE) != (net->core_size > 0) ||
        net->core_size < 0 || net->core_size > PUF_MAX_WIDTH) {
        return PUF_EINVAL;
    }
    int64_t covered = 0;
    for (int32_t e = 0; e < net->encoders; e++) {
        if (!encoder_legal(&net->encoder[e])) { return PUF_EINVAL; }
        covered += net->encoder[e].size;
    }
    if (net->encoders > 0 && covered != net->obs_size) { return PUF_EINVAL; }
    for (int32_t k = 0; k < net->layers; k++) {
        if (net->width[k] < 1 || net->width[k] > PUF_MAX_WIDTH) { return PUF_EINVAL; }
    }
    if (net->action_size > PUF_MAX_HEADS || net->action_numbers < 0 || net->action_numbers > net->action_size ||
        net->action_squash < 0 || net->action_squash > (net->action_numbers > 0)) {
        return PUF_EINVAL;
    }
    int32_t total = net->action_numbers;
    for (int32_t k = 0; k < net->action_size - net->action_numbers; k++) {
        if (net->action_n[k] < 1 || net->action_n[k] > PUF_MAX_LOGITS) { return PUF_EINVAL; }
        total += net->action_n[k];
    }
    return total <= PUF_MAX_LOGITS ? PUF_OK : PUF_EINVAL;
}

int32_t puf_net_logits(const puf_net *net) {
    int32_t total = net->action_numbers;
    for (int32_t k = 0; k < net->action_size - net->action_numbers; k++) { total += net->action_n[k]; }
    return total;
}

int32_t puf_encoder_size(const puf_encoder *e) {
    if (e->layers == 0) { return e->size; }
    int32_t height = e->height, width = e->width;
    for (int32_t k = 0; e->channels > 0 && k < e->layers; k++) {
        height = (height - e->kernel[k]) / e->stride[k] + 1;
        width = (width - e->kernel[k]) / e->stride[k] + 1;
    }
    return (e->channels > 0 ? height * width : 1) * e->out[e->layers - 1];
}

int32_t puf_net_encoded(const puf_net *net) {
    int32_t total = 0;
    for (int32_t e = 0; e < net->encoders; e++) { total += puf_encoder_size(&net->encoder[e]); }
    return net->encoders > 0 ? total : net->obs_size;
}

int32_t puf_net_carry(const puf_net *net) {
    const int32_t numbers = net->core == PUF_LSTM ? 2 * net->core_size : (net->core == PUF_GRU ? net->core_size : 0);
    return numbers * (net->separate ? 2 : 1);
}

/* The tensors of a network one after the other: `sought` and its offset end up in `found`; `count` and `params` are totals. */
typedef struct {
    int32_t sought, count;
    int64_t params, largest;
    puf_tensor found;
} tensor_walk;

static void visit(tensor_walk *walk, int32_t part, int32_t encoder, int32_t layer, int32_t bias, int32_t rows, int32_t cols) {
    const int64_t size = (int64_t)rows * cols;
    if (walk->count == walk->sought) {
        walk->found = (puf_tensor){walk->params, rows, cols, part, encoder, layer, bias, !bias && part <= 2};
    }
    walk->count++;
    walk->params += size;
    walk->largest = size > walk->largest ? size : walk->largest;
}

static void visit_layer(tensor_walk *walk, int32_t part, int32_t encoder, int32_t layer, int32_t out, int32_t in) {
    visit(walk, part, encoder, layer, 0, out, in);
    visit(walk, part, encoder, layer, 1, out, 1);
}

/* Returns the numbers that a head reads. */
static int32_t visit_tower(tensor_walk *walk, const puf_net *net, int32_t part) {
    for (int32_t e = 0; e < net->encoders; e++) {
        const puf_encoder *encoder = &net->encoder[e];
        const int image = encoder->channels > 0;
        int32_t in = image ? encoder->channels : encoder->size;
        for (int32_t k = 0; k < encoder->layers; k++) {
            visit_layer(walk, part, e, k, encoder->out[k], image ? in * encoder->kernel[k] * encoder->kernel[k] : in);
            in = encoder->out[k];
        }
    }
    int32_t in = puf_net_encoded(net);
    for (int32_t k = 0; k < net->layers; k++) {
        visit_layer(walk, part, PUF_OWN_LAYERS, k, net->width[k], in);
        in = net->width[k];
    }
    if (net->core == PUF_NO_CORE) { return in; }
    const int32_t gates = (net->core == PUF_LSTM ? 4 : 3) * net->core_size;
    visit(walk, part, PUF_OWN_CORE, 0, 0, gates, in);
    visit(walk, part, PUF_OWN_CORE, 1, 0, gates, net->core_size);
    visit(walk, part, PUF_OWN_CORE, 0, 1, gates, 1);
    return net->core_size;
}

static tensor_walk walk_tensors(const puf_net *net, int32_t sought) {
    tensor_walk walk = {.sought = sought};
    int32_t in = visit_tower(&walk, net, net->separate ? 1 : 0);
    visit_layer(&walk, 3, PUF_OWN_LAYERS, 0, puf_net_logits(net), in);
    if (net->separate) { in = visit_tower(&walk, net, 2); }
    visit_layer(&walk, 4, PUF_OWN_LAYERS, 0, 1, in);
    if (net->action_numbers > 0) { visit(&walk, 5, PUF_OWN_LAYERS, 0, 1, net->action_numbers, 1); }
    return walk;
}

int32_t puf_net_tensors(const puf_net *net) { return walk_tensors(net, -1).count; }

int puf_net_tensor(const puf_net *net, int32_t index, puf_tensor *out) {
    if (puf_net_check(net) != PUF_OK || out == NULL || index < 0) { return PUF_EINVAL; }
    const tensor_walk walk = walk_tensors(net, index);
    if (index >= walk.count) { return PUF_EINVAL; }
    *out = walk.found;
    return PUF_OK;
}

int64_t puf_net_params(const puf_net *net) { return walk_tensors(net, -1).params; }

int64_t puf_net_init_scratch(const puf_net *net) { return walk_tensors(net, -1).largest; }
