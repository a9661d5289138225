#include "web.h"

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
    return net;
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
    const puf_net net = net_of(info, config);
    const int32_t threads = puf_exec_width(puf_web_exec());
    const int isa = puf_isa_best();
    *status = puf_net_check(&net);
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
    *status = puf_policy_init(&p->policy, mem, bytes, &p->net, isa, threads);
    if (*status == PUF_OK) { *status = puf_net_init(&net, seed, (float)config->log_std_init, params, scratch); }
    if (*status == PUF_OK) { *status = puf_web_policy_load(p); }
    return *status == PUF_OK ? p : NULL;
}

const puf_net *puf_web_policy_net(const puf_web_policy *policy) { return &policy->net; }
float *puf_web_policy_params(puf_web_policy *policy) { return policy->params; }
double *puf_web_policy_moments(puf_web_policy *policy) { return policy->moments; }

int32_t puf_web_policy_load(puf_web_policy *policy) {
    if (policy->moments == NULL) { return puf_policy_load(policy->policy, policy->params, NULL, NULL, 0.0f); }
    const int32_t size = policy->net.obs_size;
    for (int32_t j = 0; j < size; j++) {
        policy->mean[j] = (float)policy->moments[j];
        policy->scale[j] = (float)(1.0 / __builtin_sqrt(policy->moments[size + j] + 1e-8));
    }
    return puf_policy_load(policy->policy, policy->params, policy->mean, policy->scale, policy->obs_clip);
}

struct puf_web_player {
    puf_web_policy *policy;
    puf_web_vec *vec;
    float *carry, *before; /* (n, puf_net_carry) what it acts with next, and what it acted with; NULL without a memory */
    float *logprob, *value;
};

puf_web_player *puf_web_player_create(puf_web_policy *policy, puf_web_vec *vec, int32_t *status) {
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

/* Nothing is handed on where an episode ended, what there was before where the row is not valid. */
static void hand_on(puf_web_player *p) {
    const size_t wide = (size_t)puf_net_carry(&p->policy->net);
    const puf_planes *s = &p->vec->planes;
    for (size_t i = 0; i < (size_t)p->vec->n; i++) {
        if (s->terminated[i] || s->truncated[i]) {
            puf_zero(p->carry + i * wide, 4 * wide);
        } else if (!s->valid[i]) {
            puf_copy(p->carry + i * wide, p->before + i * wide, 4 * wide);
        }
    }
}

int32_t puf_web_player_step(puf_web_player *p, uint64_t seed, uint64_t step, int32_t greedy) {
    puf_web_vec *v = p->vec;
    if (p->carry != NULL) { puf_copy(p->before, p->carry, 4 * (size_t)v->n * (size_t)puf_net_carry(&p->policy->net)); }
    const int32_t status = puf_policy_act(p->policy->policy, puf_web_exec(), v->planes.obs, v->planes.action_mask, v->n, seed, 0, step, greedy,
                                          p->carry, v->action, p->logprob, p->value);
    if (status != PUF_OK) { return status; }
    const int32_t finished = puf_web_vec_step(v);
    if (finished >= 0 && p->carry != NULL) { hand_on(p); }
    return finished;
}

const float *puf_web_player_value(const puf_web_player *player) { return player->value; }
