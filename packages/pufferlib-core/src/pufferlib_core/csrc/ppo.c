#include "puffer/ppo.h"

#include "kernels.h"
#include "puffer/math.h"
#include "puffer/rng.h"
#include "seeds.h"

enum { MAX_CHUNKS = 16 };

struct puf_ppo {
    puf_policy *policy;
    const puf_kernels *kernels;
    int64_t rows;
    int32_t minibatch;
    int32_t *order;     /* (rows) row numbers in the order of this epoch */
    int32_t *blocks;    /* (rows) scratch of the shuffle */
    float *chunk_grads; /* (MAX_CHUNKS, layout.grads) */
    float *grads;       /* (params) canonical */
};

/* One minibatch on its way through the chunks. */
typedef struct {
    puf_ppo *ppo;
    const puf_batch *batch;
    const int32_t *index;
    int32_t count, chunks, chunk_rows, tasks;
    puf_loss_config loss;
    float advantage_mean, advantage_scale, weight;
    float sums[MAX_CHUNKS][PUF_SUM_COUNT];
} minibatch_job;

size_t puf_ppo_bytes(const puf_policy *policy, int64_t rows, int32_t minibatch) {
    if (policy == NULL || rows < 1 || rows > 0x7FFFFFFF || minibatch < 1 || rows % minibatch != 0) { return 0; }
    return puf_align_up(sizeof(puf_ppo)) + 2 * puf_align_up((size_t)rows * 4) +
           puf_align_up((size_t)policy->layout.grads * MAX_CHUNKS * 4) + puf_align_up((size_t)policy->layout.params * 4);
}

int puf_ppo_init(puf_ppo **out, void *mem, size_t bytes, puf_policy *policy, int64_t rows, int32_t minibatch) {
    if (out == NULL || mem == NULL || ((uintptr_t)mem & (PUF_ALIGN - 1)) != 0) { return PUF_EINVAL; }
    const size_t need = puf_ppo_bytes(policy, rows, minibatch);
    if (need == 0) { return PUF_EINVAL; }
    if (bytes < need) { return PUF_ENOMEM; }
    puf_zero(mem, need);
    puf_ppo *ppo = (puf_ppo *)mem;
    unsigned char *next = (unsigned char *)mem + puf_align_up(sizeof(puf_ppo));
    ppo->policy = policy;
    ppo->kernels = puf_kernels_get(policy->isa);
    ppo->rows = rows;
    ppo->minibatch = minibatch;
    ppo->order = (int32_t *)next;
    next += puf_align_up((size_t)rows * 4);
    ppo->blocks = (int32_t *)next;
    next += puf_align_up((size_t)rows * 4);
    ppo->chunk_grads = (float *)next;
    next += puf_align_up((size_t)policy->layout.grads * MAX_CHUNKS * 4);
    ppo->grads = (float *)next;
    *out = ppo;
    return PUF_OK;
}

/* Copies the rows of a slice into a scratch: inputs, per-row numbers (zero weight past `rows`), actions as planes. */
static void load_slice(const minibatch_job *job, const int32_t *index, int32_t rows, float *scratch, uint8_t *mask) {
    const puf_policy *policy = job->ppo->policy;
    const puf_layout *l = &policy->layout;
    const puf_batch *b = job->batch;
    const int32_t size = l->net.obs_size, components = l->net.action_size;
    float *row = scratch + l->row;
    uint32_t *actions = (uint32_t *)(row + PUF_ROW_COUNT * PUF_SLICE);
    puf_zero(row, (size_t)(PUF_ROW_COUNT + components) * PUF_SLICE * 4);
    float *in = scratch + l->in;
    puf_zero(in, (size_t)PUF_SLICE * (size_t)l->obs_pad * 4);
    for (int32_t r = 0; r < rows; r++) {
        const int64_t k = index[r];
        if (!b->valid[k]) { continue; } /* its zero weight and zero inputs keep it out of every sum */
        const float *from = b->obs + k * size;
        float *to = in + (int64_t)r * l->obs_pad;
        if (policy->normalize) {
            for (int32_t i = 0; i < size; i++) {
                to[i] = puf_clamp((from[i] - policy->mean[i]) * policy->scale[i], -policy->clip, policy->clip);
            }
        } else {
            for (int32_t i = 0; i < size; i++) { to[i] = from[i]; }
        }
        row[PUF_ROW_LOGPROB * PUF_SLICE + r] = b->logprob[k];
        row[PUF_ROW_ADVANTAGE * PUF_SLICE + r] = (b->advantage[k] - job->advantage_mean) * job->advantage_scale;
        row[PUF_ROW_TARGET * PUF_SLICE + r] = b->target[k];
        row[PUF_ROW_VALUE * PUF_SLICE + r] = b->value[k];
        row[PUF_ROW_WEIGHT * PUF_SLICE + r] = job->weight;
        for (int32_t c = 0; c < components; c++) {
            actions[c * PUF_SLICE + r] = ((const uint32_t *)b->action)[k * components + c];
        }
    }
    if (mask == NULL) { return; }
    for (int32_t r = 0; r < PUF_SLICE; r++) {
        const int use = r < rows && b->valid[index[r]];
        for (int32_t k = 0; k < l->logits; k++) {
            mask[r * l->logits + k] = use ? b->action_mask[(int64_t)index[r] * l->logits + k] : 1;
        }
    }
}

static void chunk_task(void *context, int32_t task) {
    minibatch_job *job = (minibatch_job *)context;
    const puf_policy *policy = job->ppo->policy;
    const puf_layout *l = &policy->layout;
    float *scratch = puf_policy_scratch(policy, task);
    uint8_t mask[PUF_MAX_LOGITS * PUF_SLICE];
    uint8_t *use_mask = job->batch->action_mask != NULL ? mask : NULL;
    for (int32_t chunk = task; chunk < job->chunks; chunk += job->tasks) {
        float *grads = job->ppo->chunk_grads + (int64_t)chunk * l->grads;
        puf_zero(grads, (size_t)l->grads * 4);
        const int32_t end = (chunk + 1) * job->chunk_rows < job->count ? (chunk + 1) * job->chunk_rows : job->count;
        for (int32_t first = chunk * job->chunk_rows; first < end; first += PUF_SLICE) {
            const int32_t rows = end - first < PUF_SLICE ? end - first : PUF_SLICE;
            load_slice(job, job->index + first, rows, scratch, use_mask);
            policy->kernels->forward(l, policy->packed, scratch);
            policy->kernels->loss(l, &job->loss, policy->log_std, scratch,
                                  scratch + l->row + PUF_ROW_COUNT * PUF_SLICE, use_mask, job->sums[chunk], grads);
            policy->kernels->backward(l, policy->packed, scratch, grads);
        }
    }
}

/* Mean and inverse population deviation of the advantages of valid rows, and the weight of a row. In double, in order. */
static void advantage_statistics(minibatch_job *job, int normalize) {
    const puf_batch *b = job->batch;
    double sum = 0.0, squares = 0.0;
    int32_t valid = 0;
    for (int32_t i = 0; i < job->count; i++) {
        const int64_t k = job->index[i];
        if (!b->valid[k]) { continue; }
        sum += (double)b->advantage[k];
        valid++;
    }
    const double mean = valid > 0 ? sum / valid : 0.0;
    for (int32_t i = 0; normalize && i < job->count; i++) {
        const int64_t k = job->index[i];
        if (!b->valid[k]) { continue; }
        const double d = (double)b->advantage[k] - mean;
        squares += d * d;
    }
    job->weight = valid > 0 ? 1.0f / (float)valid : 0.0f;
    job->advantage_mean = 0.0f;
    job->advantage_scale = 1.0f;
    if (normalize && valid > 1) { /* one row has no deviation: left as it is */
        job->advantage_mean = (float)mean;
        job->advantage_scale = 1.0f / (puf_sqrt((float)(squares / valid)) + 1e-8f);
    }
}

/* Loss sums and canonical gradient of job->index; the policy's packed weights are current. */
static int minibatch_gradient(puf_ppo *ppo, const puf_exec *exec, const puf_ppo_config *c, minibatch_job *job, float *grads,
                              float *sums) {
    puf_policy *policy = ppo->policy;
    const puf_layout *l = &policy->layout;
    const int32_t slices = (job->count + PUF_SLICE - 1) / PUF_SLICE;
    const int32_t per_chunk = (slices + MAX_CHUNKS - 1) / MAX_CHUNKS;
    job->chunk_rows = per_chunk * PUF_SLICE;
    job->chunks = (slices + per_chunk - 1) / per_chunk;
    job->loss = (puf_loss_config){c->clip, c->value_clip, c->dual_clip, c->value_coef, c->entropy_coef};
    puf_zero(job->sums, sizeof job->sums);
    advantage_statistics(job, c->normalize_advantage);
    job->tasks = puf_exec_width(exec) < policy->tasks ? puf_exec_width(exec) : policy->tasks;
    puf_exec_run(exec, chunk_task, job, job->tasks);
    for (int32_t k = 1; k < job->chunks; k++) {
        policy->kernels->add(ppo->chunk_grads, ppo->chunk_grads + (int64_t)k * l->grads, l->grads);
        for (int32_t i = 0; i < PUF_SUM_COUNT; i++) { job->sums[0][i] += job->sums[k][i]; }
    }
    policy->kernels->unpack(l, ppo->chunk_grads, grads);
    float total = 0.0f;
    for (int32_t i = 0; i < PUF_SUM_COUNT; i++) {
        sums[i] = job->sums[0][i];
        total += sums[i];
    }
    return puf_finite(total) ? PUF_OK : PUF_ENONFINITE;
}

static int config_legal(const puf_ppo_config *c) {
    return c != NULL && c->clip > 0.0f && c->epochs > 0 && c->minibatch > 0 && c->value_clip >= 0.0f &&
           (c->dual_clip == 0.0f || c->dual_clip > 1.0f);
}

static int batch_legal(const puf_batch *b) {
    return b != NULL && b->obs != NULL && b->action != NULL && b->logprob != NULL && b->advantage != NULL &&
           b->target != NULL && b->value != NULL && b->valid != NULL && b->rows > 0;
}

static void add_metrics(puf_ppo_metrics *m, const float *sums) {
    m->policy_loss += sums[PUF_SUM_POLICY];
    m->value_loss += sums[PUF_SUM_VALUE];
    m->entropy += sums[PUF_SUM_ENTROPY];
    m->approx_kl += sums[PUF_SUM_KL];
    m->clip_fraction += sums[PUF_SUM_CLIPPED];
}

static void divide_metrics(puf_ppo_metrics *m, int32_t count) {
    const float scale = count > 0 ? 1.0f / (float)count : 1.0f;
    m->policy_loss *= scale;
    m->value_loss *= scale;
    m->entropy *= scale;
    m->approx_kl *= scale;
    m->clip_fraction *= scale;
}

int puf_ppo_gradient(puf_ppo *ppo, const puf_exec *exec, const puf_ppo_config *config, const puf_batch *batch,
                     const int32_t *index, int32_t count, const float *params, float *grads, puf_ppo_metrics *metrics) {
    if (ppo == NULL || !config_legal(config) || !batch_legal(batch) || index == NULL || params == NULL || grads == NULL ||
        count < 1) {
        return PUF_EINVAL;
    }
    for (int32_t i = 0; i < count; i++) {
        if (index[i] < 0 || index[i] >= batch->rows) { return PUF_EINVAL; }
    }
    puf_policy *policy = ppo->policy;
    puf_policy_load(policy, params, policy->normalize ? policy->mean : NULL, policy->scale, policy->clip);
    minibatch_job job = {.ppo = ppo, .batch = batch, .index = index, .count = count};
    float sums[PUF_SUM_COUNT];
    const int status = minibatch_gradient(ppo, exec, config, &job, grads, sums);
    if (metrics != NULL) {
        puf_zero(metrics, sizeof *metrics);
        add_metrics(metrics, sums);
        metrics->minibatches = 1;
        metrics->grad_norm = puf_sqrt(ppo->kernels->sum_squares(grads, (int32_t)policy->layout.params));
    }
    return status;
}

/* Fisher and Yates over blocks of rows, so that a minibatch is gathered in runs of whole cache lines. */
static void shuffle(puf_ppo *ppo, puf_rng *rng) {
    int32_t block = 16;
    while (ppo->minibatch % block != 0) { block /= 2; }
    const int32_t count = (int32_t)(ppo->rows / block);
    for (int32_t i = 0; i < count; i++) { ppo->blocks[i] = i; }
    for (int32_t i = count - 1; i > 0; i--) {
        uint32_t a, b;
        puf_rng_next(rng, &a, &b);
        const int32_t j = (int32_t)puf_below(a, (uint32_t)i + 1u);
        const int32_t swap = ppo->blocks[i];
        ppo->blocks[i] = ppo->blocks[j];
        ppo->blocks[j] = swap;
    }
    for (int32_t i = 0; i < count; i++) {
        for (int32_t k = 0; k < block; k++) { ppo->order[i * block + k] = ppo->blocks[i] * block + k; }
    }
}

int puf_ppo_update(puf_ppo *ppo, const puf_exec *exec, const puf_ppo_config *config, const puf_batch *batch, uint64_t seed,
                   uint64_t update, float *params, float *m, float *v, int64_t *step, puf_ppo_metrics *metrics) {
    if (ppo == NULL || !config_legal(config) || !batch_legal(batch) || params == NULL || m == NULL || v == NULL ||
        step == NULL || metrics == NULL || batch->rows != ppo->rows || config->minibatch != ppo->minibatch) {
        return PUF_EINVAL;
    }
    puf_policy *policy = ppo->policy;
    const puf_layout *l = &policy->layout;
    const int32_t per_epoch = (int32_t)(ppo->rows / ppo->minibatch);
    puf_zero(metrics, sizeof *metrics);
    puf_rng rng = puf_rng_stream(seed, PUF_STREAM_SHUFFLE);
    rng.counter[1] = (uint32_t)update; /* 2^32 blocks for each update */
    int32_t seen = 0;
    float norms = 0.0f;
    int status = PUF_OK;
    for (int32_t epoch = 0; epoch < config->epochs && status == PUF_OK && !metrics->stopped; epoch++) {
        shuffle(ppo, &rng);
        for (int32_t k = 0; k < per_epoch; k++) {
            minibatch_job job = {.ppo = ppo, .batch = batch, .index = ppo->order + (int64_t)k * ppo->minibatch,
                                 .count = ppo->minibatch};
            float sums[PUF_SUM_COUNT], norm = 0.0f;
            policy->kernels->pack(l, params, policy->packed);
            for (int32_t i = 0; l->net.action_kind == PUF_ACTION_CONTINUOUS && i < l->net.action_size; i++) {
                policy->log_std[i] = params[l->log_std + i];
            }
            status = minibatch_gradient(ppo, exec, config, &job, ppo->grads, sums);
            if (status == PUF_OK && config->target_kl > 0.0f && sums[PUF_SUM_KL] > config->target_kl) {
                metrics->stopped = 1;
                break;
            }
            if (status == PUF_OK) {
                status = puf_adam(policy->isa, &config->adam, *step + 1, params, ppo->grads, m, v, (int32_t)l->params, &norm);
            }
            if (status != PUF_OK) {
                metrics->failed = 1 + epoch * per_epoch + k;
                break;
            }
            *step += 1;
            add_metrics(metrics, sums);
            norms += norm;
            seen++;
        }
    }
    divide_metrics(metrics, seen);
    metrics->grad_norm = seen > 0 ? norms / (float)seen : 0.0f;
    metrics->minibatches = seen;
    return status;
}
