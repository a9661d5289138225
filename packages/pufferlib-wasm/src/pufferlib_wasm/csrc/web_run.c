/* A run of PPO as pufferlib_core.algorithms.ppo does it: the same operations in the same order. */
#include "web.h"

#include "puffer/math.h"

struct puf_web_run {
    puf_web_vec *vec;
    puf_web_policy *policy;
    puf_web_ppo_config config;
    uint64_t seed;
    double timesteps;
    puf_web_progress progress;
    puf_segment segment;
    puf_ppo *ppo;
    puf_web_moved moved;        /* with kl_target */
    float *m, *v;
    float *scaled;              /* (T, n) rewards over the deviation of the return; NULL: as they are */
    float *advantage, *target;  /* (T, n) */
    double *returns;            /* (T, n) discounted sums of rewards */
    double *return_norm;        /* mean, variance, rows, running (n) */
    int32_t *order;             /* of puf_prioritize; NULL: by puf_minibatch_order */
    float *importance;          /* likewise; NULL: 1 */
    double *below;              /* likewise */
    double *batch;              /* mean and variance of what is merged into moments, (obs_size) each */
};

static size_t rows_of(const puf_web_run *run) { return (size_t)run->config.horizon * (size_t)run->vec->n; }

static int32_t optimizer_of(const puf_web_ppo_config *c) { return c->optimizer == 1 ? PUF_MUON : PUF_ADAM; }

/* Numbers of the parameters that Adam serves. */
static size_t squares_of(const puf_web_run *r) {
    const puf_net *net = &r->policy->net;
    return (size_t)(puf_net_params(net) - (optimizer_of(&r->config) == PUF_MUON ? puf_muon_served(net) : 0));
}

static int allocate(puf_web_run *r) {
    const size_t n = (size_t)r->vec->n, rows = rows_of(r), params = (size_t)puf_net_params(&r->policy->net);
    const puf_env_info *info = &r->vec->info;
    const size_t wide = (size_t)info->obs_size, choices = info->masks ? (size_t)info->logits : 0;
    const size_t carry = (size_t)puf_net_carry(&r->policy->net), returns = r->config.normalize_return ? 1 : 0;
    const size_t largest = wide > 1 ? wide : 1, drawn = r->config.prioritize != 0.0 ? 1 : 0;
    puf_segment *s = &r->segment;
    const struct {
        void *to; /* a pointer to the pointer */
        size_t bytes; /* 0: not needed */
    } blocks[] = {
        {&s->obs, 4 * (rows + n) * wide}, {&s->action_mask, (rows + n) * choices},
        {&s->action, 4 * rows * (size_t)info->action_size},
        {&s->logprob, 4 * rows}, {&s->value, 4 * rows}, {&s->next_value, 4 * rows}, {&s->reward, 4 * rows}, {&s->cost, 4 * rows},
        {&s->terminated, rows}, {&s->truncated, rows}, {&s->valid, rows}, {&s->final_obs, 4 * n * wide},
        {&s->log, rows * sizeof(puf_episode)}, {&s->carry, 8 * n * carry},
        {&r->m, 4 * params}, {&r->v, 4 * squares_of(r)}, {&r->advantage, 4 * rows}, {&r->target, 4 * rows},
        {&r->scaled, returns * 4 * rows}, {&r->returns, returns * 8 * rows}, {&r->return_norm, returns * 8 * (3 + n)},
        {&r->order, drawn * 4 * (size_t)r->config.epochs * (carry > 0 ? n : rows)}, {&r->importance, drawn * 4 * rows},
        {&r->below, drawn * 8 * n},
        {&r->batch, 16 * largest}, {&s->given, r->policy->bounds != NULL ? 4 * n * (size_t)info->action_size : 0},
    };
    for (size_t k = 0; k < sizeof blocks / sizeof blocks[0]; k++) {
        void *block = blocks[k].bytes > 0 ? puf_web_alloc(blocks[k].bytes) : NULL;
        if (block == NULL && blocks[k].bytes > 0) { return 0; }
        puf_copy(blocks[k].to, &block, sizeof block);
    }
    s->steps = r->config.horizon;
    if (s->given != NULL) {
        s->low = r->policy->bounds;
        s->high = s->low + info->action_size;
    }
    if (returns) { r->return_norm[1] = 1.0; }
    return r->config.kl_target == 0.0 || puf_web_moved_allocate(&r->moved, r->policy, n, rows);
}

/* PUF_ENOMEM if a segment does not fit into an instance; sizes of the core are otherwise far from 2^32. */
static int32_t fits(const puf_web_vec *vec, const puf_web_ppo_config *c) {
    const int64_t rows = (int64_t)c->horizon * vec->n;
    const puf_env_info *info = &vec->info;
    const int64_t order = c->prioritize != 0.0 ? 4 * (int64_t)c->epochs : 0;
    const int64_t row = 4 * (int64_t)info->obs_size + 4 * (int64_t)info->action_size + 9 * (int64_t)info->logits + 128 + order;
    return rows < PUF_WEB_MEMORY / row ? PUF_OK : PUF_ENOMEM;
}

puf_web_run *puf_web_run_create(puf_web_vec *vec, puf_web_policy *policy, const puf_web_ppo_config *config, uint64_t seed,
                                double timesteps, int32_t *status) {
    if (status == NULL) { return NULL; }
    *status = PUF_EINVAL;
    if (vec == NULL || policy == NULL || config == NULL || !puf_web_fit(policy, vec)) { return NULL; }
    if (config->horizon < 1 || config->minibatch < 1 || config->epochs < 1 || !(timesteps >= 1.0)) { return NULL; }
    *status = fits(vec, config);
    if (*status != PUF_OK) { return NULL; }
    const int64_t rows = (int64_t)config->horizon * vec->n;
    const int32_t optimizer = optimizer_of(config);
    const size_t bytes = puf_ppo_bytes(policy->policy, rows, config->minibatch, config->horizon, optimizer);
    *status = PUF_EINVAL;
    if (bytes == 0) { return NULL; }
    puf_web_run *r = puf_web_alloc(sizeof *r);
    void *mem = puf_web_alloc(bytes);
    *status = PUF_ENOMEM;
    if (r == NULL || mem == NULL) { return NULL; }
    r->vec = vec;
    r->policy = policy;
    r->config = *config;
    r->seed = seed;
    r->timesteps = timesteps;
    r->progress.kl_coef = config->kl_coef;
    r->progress.return_mean = r->progress.length_mean = __builtin_nan("");
    if (!allocate(r)) { return NULL; }
    *status = puf_ppo_init(&r->ppo, mem, bytes, policy->policy, rows, config->minibatch, config->horizon, optimizer);
    if (*status == PUF_OK) { *status = puf_vec_reset(vec->vec, puf_web_exec(), NULL, r->segment.obs, r->segment.action_mask); }
    return *status == PUF_OK ? r : NULL;
}

puf_web_progress *puf_web_run_progress(puf_web_run *run) { return run != NULL ? &run->progress : NULL; }

void *puf_web_run_array(puf_web_run *run, int32_t array) {
    if (run == NULL) { return NULL; }
    switch (array) {
        case PUF_WEB_M: return run->m;
        case PUF_WEB_V: return run->v;
        case PUF_WEB_RETURN_NORM: return run->return_norm;
        case PUF_WEB_FIRST_OBS: return run->segment.obs;
        case PUF_WEB_FIRST_ACTION_MASK: return run->segment.action_mask;
        case PUF_WEB_FIRST_CARRY: return run->segment.carry;
        default: return NULL;
    }
}

/* --- collecting ------------------------------------------------------------------------------------------------------- */

static void add_episode(puf_web_progress *p, const puf_episode *episode) {
    if (p->window == PUF_WEB_WINDOW) {
        for (int32_t k = 1; k < PUF_WEB_WINDOW; k++) {
            p->returns[k - 1] = p->returns[k];
            p->lengths[k - 1] = p->lengths[k];
        }
        p->window--;
    }
    p->returns[p->window] = (double)episode->episode_return;
    p->lengths[p->window++] = episode->episode_length;
}

/* The episodes of a segment in the order (row, environment). */
static void count_episodes(puf_web_run *run, int32_t finished) {
    puf_web_progress *p = &run->progress;
    const puf_segment *s = &run->segment;
    p->episodes += finished;
    for (size_t k = 0; finished > 0 && k < rows_of(run); k++) {
        if ((s->terminated[k] | s->truncated[k]) == 0) { continue; }
        if (finished-- <= PUF_WEB_WINDOW) { add_episode(p, &s->log[k]); }
    }
    double returns = 0.0, lengths = 0.0;
    for (int32_t k = 0; k < p->window; k++) {
        returns += p->returns[k];
        lengths += (double)p->lengths[k];
    }
    p->return_mean = returns / (double)p->window; /* NaN where there are none */
    p->length_mean = lengths / (double)p->window;
}

int32_t puf_web_run_collect(puf_web_run *run) {
    if (run == NULL) { return PUF_EINVAL; }
    const uint64_t first = (uint64_t)(run->progress.steps / run->vec->n);
    const int32_t finished = puf_collect(run->vec->vec, run->policy->policy, puf_web_exec(), &run->segment, run->seed, first, &run->progress.bad_row);
    if (finished >= 0) { count_episodes(run, finished); }
    return finished;
}

/* --- normalisers ------------------------------------------------------------------------------------------------------ */

/* Rows (n, size), of either precision, of which those count that are valid. */
typedef struct {
    const float *single;
    const double *wide; /* if single is NULL */
    const uint8_t *valid;
    size_t n, size;
} table;

static double cell(const table *t, size_t i, size_t j) {
    return t->single != NULL ? (double)t->single[i * t->size + j] : t->wide[i * t->size + j];
}

/* mean = sum of what / count, or the mean of squares around `around`. */
static void mean_of(const table *t, const double *around, double count, double *mean) {
    for (size_t j = 0; j < t->size; j++) { mean[j] = 0.0; }
    for (size_t i = 0; i < t->n; i++) {
        for (size_t j = 0; t->valid[i] && j < t->size; j++) {
            const double x = around != NULL ? cell(t, i, j) - around[j] : cell(t, i, j);
            mean[j] += around != NULL ? x * x : x;
        }
    }
    for (size_t j = 0; j < t->size; j++) { mean[j] /= count; }
}

/* The moments (mean, variance, rows) after these rows were seen as well; see pufferlib_core.ops.normalize. */
static void merge(double *moments, const table *t, double *batch) {
    double *mean = moments, *var = moments + t->size, *rows = moments + 2 * t->size, n = 0.0;
    double *batch_mean = batch, *batch_var = batch + t->size;
    for (size_t i = 0; i < t->n; i++) { n += t->valid[i] ? 1.0 : 0.0; }
    if (n == 0.0) { return; }
    mean_of(t, NULL, n, batch_mean);
    mean_of(t, batch_mean, n, batch_var);
    const double total = *rows + n;
    for (size_t j = 0; j < t->size; j++) {
        const double delta = batch_mean[j] - mean[j];
        const double merged = (var[j] * *rows + batch_var[j] * n + delta * delta * (*rows * n / total)) / total;
        var[j] = *rows == 0.0 ? batch_var[j] : merged;
        mean[j] = *rows == 0.0 ? batch_mean[j] : mean[j] + delta * (n / total);
    }
    *rows = total;
}

/* What the normalisers learn from the segment. */
static void observe(puf_web_run *run) {
    const puf_segment *s = &run->segment;
    const size_t rows = rows_of(run), n = (size_t)run->vec->n;
    if (run->policy->moments != NULL) {
        const table seen = {s->obs, NULL, s->valid, rows, (size_t)run->vec->info.obs_size};
        merge(run->policy->moments, &seen, run->batch);
    }
    if (run->return_norm == NULL) { return; }
    double *running = run->return_norm + 3;
    for (size_t k = 0; k < rows; k++) {
        double *sum = running + k % n;
        *sum = *sum * run->config.gamma + (double)s->reward[k];
        run->returns[k] = *sum;
        if (s->terminated[k] | s->truncated[k]) { *sum = 0.0; }
    }
    const table sums = {NULL, run->returns, s->valid, rows, 1};
    merge(run->return_norm, &sums, run->batch);
}

/* --- updates ---------------------------------------------------------------------------------------------------------- */

static int estimate(puf_web_run *run) {
    const puf_web_ppo_config *c = &run->config;
    const puf_segment *s = &run->segment;
    const size_t rows = rows_of(run);
    const float *reward = s->reward;
    const int isa = puf_isa_best();
    if (run->return_norm != NULL) {
        const float scale = (float)(1.0 / __builtin_sqrt(run->return_norm[1] + 1e-8));
        for (size_t k = 0; k < rows; k++) { run->scaled[k] = s->reward[k] * scale; }
        reward = run->scaled;
    }
    if (c->advantage == 1) {
        return puf_vtrace(isa, puf_web_exec(), run->target, run->advantage, s->logprob, s->logprob, reward, s->value, s->next_value, s->terminated,
                          s->truncated, c->horizon, run->vec->n, (float)c->gamma, (float)c->lam, (float)c->rho_clip, (float)c->c_clip);
    }
    const int status = puf_gae(isa, puf_web_exec(), run->advantage, reward, s->value, s->next_value, s->terminated, s->truncated, c->horizon,
                               run->vec->n, (float)c->gamma, (float)c->lam);
    for (size_t k = 0; k < rows; k++) { run->target[k] = run->advantage[k] + s->value[k]; }
    return status;
}

/* The part of the run that is done. */
static double fraction_of(const puf_web_run *run) {
    const double done = (double)run->progress.steps / run->timesteps;
    return done < 1.0 ? done : 1.0;
}

static int prioritize(puf_web_run *run) {
    const puf_web_ppo_config *c = &run->config;
    const puf_priorities priorities = {
        .steps = c->horizon, .n = run->vec->n, .epochs = c->epochs, .minibatch = c->minibatch,
        .memory = puf_net_carry(&run->policy->net) > 0, .alpha = (float)c->prioritize,
        .beta = (float)(c->priority_beta + (1.0 - c->priority_beta) * fraction_of(run)),
    };
    return puf_prioritize(&priorities, run->advantage, run->segment.valid, run->seed, (uint64_t)run->progress.updates, run->below,
                          run->importance, run->order);
}

static puf_ppo_config scheduled(const puf_web_run *run) {
    const puf_web_ppo_config *c = &run->config;
    const float fraction = (float)fraction_of(run);
    const puf_ppo_config config = {
        .clip = puf_schedule(c->clip_schedule, (float)c->clip, 0.0f, fraction),
        .value_clip = (float)c->value_clip,
        .dual_clip = (float)c->dual_clip,
        .value_coef = (float)c->value_coef,
        .entropy_coef = puf_schedule(c->entropy_schedule, (float)c->entropy_coef, 0.0f, fraction),
        .kl_coef = (float)run->progress.kl_coef,
        .target_kl = (float)c->target_kl,
        .epochs = c->epochs,
        .minibatch = c->minibatch,
        .normalize_advantage = c->normalize_advantage,
        .momentum = (float)c->momentum,
        .adam = {.rate = puf_schedule(c->schedule, (float)c->learning_rate, 0.0f, fraction),
                 .beta1 = (float)c->beta1,
                 .beta2 = (float)c->beta2,
                 .epsilon = (float)c->epsilon,
                 .weight_decay = (float)c->weight_decay,
                 .max_norm = (float)c->max_grad_norm},
    };
    return config;
}

/* 1 - var(target - value) / var(target) over valid rows; 0 where the target does not vary. */
static double explained(const puf_web_run *run) {
    const puf_segment *s = &run->segment;
    double n = 0.0, target = 0.0, rest = 0.0, target2 = 0.0, rest2 = 0.0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t k = 0; k < rows_of(run); k++) {
            if (!s->valid[k]) { continue; }
            const double x = (double)run->target[k], y = x - (double)s->value[k];
            n += pass == 0 ? 1.0 : 0.0;
            target += pass == 0 ? x : 0.0;
            rest += pass == 0 ? y : 0.0;
            target2 += pass == 1 ? (x - target) * (x - target) : 0.0;
            rest2 += pass == 1 ? (y - rest) * (y - rest) : 0.0;
        }
        if (n == 0.0) { return 0.0; }
        target /= pass == 0 ? n : 1.0;
        rest /= pass == 0 ? n : 1.0;
    }
    return target2 > 0.0 ? 1.0 - rest2 / target2 : 0.0;
}

/* The last row becomes the first of the next segment. */
static void roll(puf_web_run *run) {
    const puf_segment *s = &run->segment;
    const size_t n = (size_t)run->vec->n, rows = rows_of(run), wide = (size_t)run->vec->info.obs_size;
    const size_t choices = (size_t)run->vec->info.logits, carry = n * (size_t)puf_net_carry(&run->policy->net);
    puf_copy(s->obs, s->obs + rows * wide, 4 * n * wide);
    if (s->action_mask != NULL) { puf_copy(s->action_mask, s->action_mask + rows * choices, n * choices); }
    if (s->carry != NULL) { puf_copy(s->carry, s->carry + carry, 4 * carry); }
}

/* The penalty's weight after an update: half where the policy moved too little, twice where it moved too far. */
static int32_t adapt(puf_web_run *run) {
    puf_web_progress *p = &run->progress;
    const double target = run->config.kl_target;
    int32_t status = puf_web_policy_reload(run->policy); /* what was learnt, with the statistics of observations of before */
    if (status == PUF_OK) { status = puf_web_moved_look(&run->moved, run->policy, &run->segment, run->vec->n, 1); }
    if (status != PUF_OK) { return status; }
    p->divergence = puf_web_divergence(&run->moved, run->policy, &run->segment, rows_of(run));
    p->kl_coef *= p->divergence < target / 1.5 ? 0.5 : p->divergence > target * 1.5 ? 2.0 : 1.0;
    return PUF_OK;
}

static void note(puf_web_progress *p, const puf_ppo_metrics *metrics, const puf_ppo_config *config) {
    p->policy_loss = metrics->policy_loss;
    p->value_loss = metrics->value_loss;
    p->entropy = metrics->entropy;
    p->approx_kl = metrics->approx_kl;
    p->clip_fraction = metrics->clip_fraction;
    p->grad_norm = metrics->grad_norm;
    p->learning_rate = config->adam.rate;
    p->clip_now = config->clip;
    p->entropy_coef_now = config->entropy_coef;
    p->kl_coef_now = config->kl_coef;
}

int32_t puf_web_run_update(puf_web_run *run) {
    if (run == NULL) { return PUF_EINVAL; }
    const puf_segment *s = &run->segment;
    puf_web_progress *p = &run->progress;
    const int adaptive = run->config.kl_target != 0.0;
    const puf_ppo_config config = scheduled(run);
    const puf_batch batch = {
        .obs = s->obs, .action = s->action, .action_mask = s->action_mask, .logprob = s->logprob, .advantage = run->advantage,
        .target = run->target, .value = s->value, .valid = s->valid, .rows = (int64_t)rows_of(run), .order = run->order,
        .importance = run->importance, .terminated = s->carry != NULL ? s->terminated : NULL,
        .truncated = s->carry != NULL ? s->truncated : NULL, .carry = s->carry,
    };
    puf_ppo_metrics metrics;
    puf_zero(&metrics, sizeof metrics);
    p->failed = 0;
    observe(run);
    int status = estimate(run);
    if (status == PUF_OK && run->order != NULL) { status = prioritize(run); }
    if (status == PUF_OK && adaptive) { status = puf_web_moved_look(&run->moved, run->policy, s, run->vec->n, 0); }
    if (status != PUF_OK) { return status; }
    status = puf_ppo_update(run->ppo, puf_web_exec(), &config, &batch, run->seed, (uint64_t)p->updates, run->policy->params, run->m, run->v,
                            &p->adam_step, &metrics);
    p->failed = metrics.failed;
    if (status == PUF_OK && adaptive) { status = adapt(run); }
    if (status != PUF_OK) { return status; }
    note(p, &metrics, &config);
    p->explained_variance = explained(run);
    p->updates++;
    p->steps += (int64_t)rows_of(run);
    roll(run);
    return puf_web_policy_load(run->policy);
}
