#include "web.h"

/* Convolutions that read the whole observation. */
static puf_encoder encoder_of(const puf_env_info *info, const puf_web_policy_config *c) {
    puf_encoder encoder;
    puf_zero(&encoder, sizeof encoder);
    encoder.size = info->obs_size;
    encoder.height = c->image[0];
    encoder.width = c->image[1];
    encoder.channels = c->image[2];
    encoder.layers = c->conv_count;
    for (int32_t k = 0; k < c->conv_count; k++) {
        encoder.out[k] = c->conv[3 * k];
        encoder.kernel[k] = c->conv[3 * k + 1];
        encoder.stride[k] = c->conv[3 * k + 2];
    }
    return encoder;
}

static puf_net net_of(const puf_env_info *info, const puf_web_policy_config *c) {
    puf_net net;
    puf_zero(&net, sizeof net);
    net.obs_size = info->obs_size;
    net.layers = c->hidden_count;
    for (int32_t k = 0; k < PUF_MAX_LAYERS; k++) { net.width[k] = k < c->hidden_count ? c->hidden[k] : 0; }
    net.activation = c->activation;
    net.core = c->core;
    net.core_size = c->core == PUF_NO_CORE ? 0 : c->core_size;
    net.separate = c->separate;
    net.action_size = info->action_size;
    net.action_numbers = info->action_kind == PUF_ACTION_CONTINUOUS ? info->action_size : 0;
    for (int32_t k = 0; k < info->action_size - net.action_numbers; k++) { net.action_n[k] = info->action_n[k]; }
    net.action_squash = c->squash;
    net.encoders = c->conv_count > 0 ? 1 : 0;
    if (net.encoders) { net.encoder[0] = encoder_of(info, c); }
    return net;
}

static int legal(const puf_env_info *info, const puf_web_policy_config *c) {
    return info != NULL && c != NULL && info->action_size >= 1 && info->action_size <= PUF_MAX_HEADS && info->obs_size >= 1 &&
           c->hidden_count >= 1 && c->hidden_count <= PUF_MAX_LAYERS && c->conv_count >= 0 &&
           c->conv_count <= PUF_MAX_ENCODER_LAYERS && (!c->squash || info->action_kind == PUF_ACTION_CONTINUOUS);
}

/* Statistics as before the first row: mean 0, variance 1. */
static int allocate_moments(puf_web_policy *p) {
    const size_t size = (size_t)p->net.obs_size;
    p->moments = puf_web_alloc(8 * (2 * size + 1));
    p->mean = puf_web_alloc(4 * size);
    p->scale = puf_web_alloc(4 * size);
    if (p->moments == NULL || p->mean == NULL || p->scale == NULL) { return 0; }
    for (size_t j = 0; j < size; j++) { p->moments[size + j] = 1.0; }
    return 1;
}

puf_web_policy *puf_web_policy_create(const puf_env_info *info, const puf_web_policy_config *config, uint64_t seed,
                                      int32_t *status) {
    if (status == NULL) { return NULL; }
    *status = PUF_EINVAL;
    if (!legal(info, config)) { return NULL; }
    const puf_net net = net_of(info, config);
    const int32_t threads = puf_exec_width(puf_web_exec());
    const int isa = puf_isa_best();
    *status = puf_net_check(&net);
    if (*status == PUF_OK && 4 * puf_net_params(&net) >= PUF_WEB_MEMORY) { *status = PUF_ENOMEM; } /* sizes are then far from 2^32 */
    if (*status != PUF_OK) { return NULL; }
    const size_t bytes = puf_policy_bytes(&net, isa, threads);
    puf_web_policy *p = puf_web_alloc(sizeof *p);
    void *mem = puf_web_alloc(bytes);
    float *params = puf_web_alloc(4 * (size_t)puf_net_params(&net));
    float *scratch = puf_web_alloc(4 * (size_t)puf_net_init_scratch(&net));
    *status = PUF_ENOMEM;
    if (p == NULL || mem == NULL || params == NULL || scratch == NULL) { return NULL; }
    p->net = net;
    p->params = params;
    p->obs_clip = (float)config->obs_clip;
    if (config->normalize_obs && !allocate_moments(p)) { return NULL; }
    p->bounds = config->squash ? puf_web_alloc(8 * (size_t)net.action_numbers) : NULL;
    if (config->squash && p->bounds == NULL) { return NULL; }
    *status = puf_policy_init(&p->policy, mem, bytes, &p->net, isa, threads);
    if (*status == PUF_OK) { *status = puf_net_init(&net, seed, (float)config->log_std_init, params, scratch); }
    if (*status == PUF_OK) { *status = puf_web_policy_load(p); }
    return *status == PUF_OK ? p : NULL;
}

const puf_net *puf_web_policy_net(const puf_web_policy *policy) { return policy != NULL ? &policy->net : NULL; }
float *puf_web_policy_params(puf_web_policy *policy) { return policy != NULL ? policy->params : NULL; }
float *puf_web_policy_bounds(puf_web_policy *policy) { return policy != NULL ? policy->bounds : NULL; }
double *puf_web_policy_moments(puf_web_policy *policy) { return policy != NULL ? policy->moments : NULL; }

int32_t puf_web_policy_reload(puf_web_policy *policy) {
    return puf_policy_load(policy->policy, policy->params, policy->mean, policy->scale, policy->obs_clip);
}

int32_t puf_web_policy_load(puf_web_policy *policy) {
    if (policy == NULL) { return PUF_EINVAL; }
    const int32_t size = policy->moments != NULL ? policy->net.obs_size : 0;
    for (int32_t j = 0; j < size; j++) { /* an image is read as it is, whatever was seen of it */
        const double scale = 1.0 / __builtin_sqrt(policy->moments[size + j] + 1e-8);
        policy->mean[j] = policy->net.encoders ? 0.0f : (float)policy->moments[j];
        policy->scale[j] = policy->net.encoders ? 1.0f : (float)scale;
    }
    return puf_web_policy_reload(policy);
}

void puf_web_squash(const puf_web_policy *policy, int32_t n, void *action) {
    const int32_t numbers = policy->net.action_numbers;
    if (policy->bounds == NULL) { return; }
    (void)puf_squash(policy->bounds, policy->bounds + numbers, policy->net.action_size - numbers, numbers, n, action);
}

void puf_web_hand_on(size_t n, size_t wide, const uint8_t *terminated, const uint8_t *truncated, const uint8_t *valid,
                     const float *before, float *carry) {
    for (size_t i = 0; i < n; i++) {
        if (terminated[i] || truncated[i]) {
            puf_zero(carry + i * wide, 4 * wide);
        } else if (!valid[i]) {
            puf_copy(carry + i * wide, before + i * wide, 4 * wide);
        }
    }
}

int puf_web_fit(const puf_web_policy *policy, const puf_web_vec *vec) {
    const puf_net *net = &policy->net;
    const puf_env_info *info = &vec->info;
    int same = net->obs_size == info->obs_size && net->action_size == info->action_size &&
               (net->action_numbers > 0) == (info->action_kind == PUF_ACTION_CONTINUOUS);
    for (int32_t k = 0; same && k < net->action_size - net->action_numbers; k++) { same = net->action_n[k] == info->action_n[k]; }
    return same;
}

struct puf_web_player {
    puf_web_policy *policy;
    puf_web_vec *vec;
    float *carry, *before; /* (n, puf_net_carry) what it acts with next, and what it acted with; NULL without a memory */
    float *logprob, *value;
};

puf_web_player *puf_web_player_create(puf_web_policy *policy, puf_web_vec *vec, int32_t *status) {
    if (status == NULL) { return NULL; }
    *status = PUF_EINVAL;
    if (policy == NULL || vec == NULL || !puf_web_fit(policy, vec)) { return NULL; }
    const size_t n = (size_t)vec->n, carry = (size_t)puf_net_carry(&policy->net);
    puf_web_player *p = puf_web_alloc(sizeof *p);
    *status = PUF_ENOMEM;
    if (p == NULL) { return NULL; }
    p->policy = policy;
    p->vec = vec;
    p->logprob = puf_web_alloc(4 * n);
    p->value = puf_web_alloc(4 * n);
    p->carry = carry > 0 ? puf_web_alloc(4 * n * carry) : NULL;
    p->before = carry > 0 ? puf_web_alloc(4 * n * carry) : NULL;
    if (p->logprob == NULL || p->value == NULL || (carry > 0 && (p->carry == NULL || p->before == NULL))) { return NULL; }
    *status = PUF_OK;
    return p;
}

int32_t puf_web_player_step(puf_web_player *p, uint64_t seed, uint64_t step, int32_t greedy) {
    if (p == NULL) { return PUF_EINVAL; }
    puf_web_vec *v = p->vec;
    const puf_planes *s = &v->planes;
    const size_t wide = (size_t)puf_net_carry(&p->policy->net);
    if (p->carry != NULL) { puf_copy(p->before, p->carry, 4 * (size_t)v->n * wide); }
    const int32_t status = puf_policy_act(p->policy->policy, puf_web_exec(), s->obs, s->action_mask, v->n, seed, 0, step, greedy, p->carry,
                                          v->action, p->logprob, p->value);
    if (status != PUF_OK) { return status; }
    puf_web_squash(p->policy, v->n, v->action);
    const int32_t finished = puf_web_vec_step(v);
    if (finished >= 0 && p->carry != NULL) {
        puf_web_hand_on((size_t)v->n, wide, s->terminated, s->truncated, s->valid, p->before, p->carry);
    }
    return finished;
}

const float *puf_web_player_value(const puf_web_player *player) { return player != NULL ? player->value : NULL; }
