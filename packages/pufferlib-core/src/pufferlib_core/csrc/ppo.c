#include "puffer/ppo.h"

#include "kernels.h"
#include "puffer/math.h"
#include "puffer/rng.h"
#include "seeds.h"

enum {
    MAX_CHUNKS = 16,
    MIN_CHUNK_ROWS = 128, /* fewer, and clearing and adding gradients costs more than a thread gains */
    GRADIENT_STEPS = 4,   /* of a sequence whose gradients of a core's weights are taken together: they stay in the second cache */
    ADD_RANGE = 2048      /* numbers of one task of the sum over chunks */
};

struct puf_ppo {
    puf_policy *policy;
    const puf_kernels *kernels;
    int64_t rows;
    int32_t minibatch;
    int32_t optimizer;
    int32_t steps;      /* of a sequence; 1 without a memory: what is shuffled and cut into slices are sequences */
    int32_t *order;     /* (rows / steps) sequences in the order of this epoch */
    float *chunk_grads; /* (chunks, layout.grads); Muon's scratch while a step is taken */
    float *grads;       /* (params) canonical */
    float *unrolled;    /* with a memory: (tasks, steps, layout.scratch) */
    float *carried;     /* with a memory: (tasks, layout.carried) */
};

/* One minibatch on its way through the chunks. */
typedef struct {
    puf_ppo *ppo;
    const puf_batch *batch;
    const int32_t *index; /* sequences */
    int32_t count, chunks, chunk_size;
    int64_t stride; /* rows between two steps of a sequence */
    puf_loss_config loss;
    float advantage_mean, advantage_scale, weight;
    float sums[MAX_CHUNKS][PUF_SUM_COUNT];
} minibatch_job;

static int has_memory(const puf_policy *policy) { return policy->layout.net.core != PUF_NO_CORE; }

static size_t unrolled_bytes(const puf_policy *policy, int32_t steps) {
    const size_t each = (size_t)policy->layout.scratch * 4 * (size_t)steps;
    return has_memory(policy) ? puf_align_up(each * (size_t)policy->tasks) : 0;
}

static int32_t whole_slices(int32_t count) { return (count + PUF_SLICE - 1) / PUF_SLICE * PUF_SLICE; }

/* Sequences of the smallest chunk. */
static int32_t least_chunk(int32_t steps) { return whole_slices((MIN_CHUNK_ROWS + steps - 1) / steps); }

/* Sequences of a chunk, whole slices: they depend on the size of a minibatch alone. */
static int32_t size_of_chunk(int32_t count, int32_t steps) {
    const int32_t share = whole_slices((count + MAX_CHUNKS - 1) / MAX_CHUNKS), least = least_chunk(steps);
    return share < least ? least : share;
}

/* For as many chunks as any number of sequences up to that of a minibatch makes, and for Muon, which needs it when they are
 * done. */
static size_t chunk_bytes(const puf_policy *policy, int32_t minibatch, int32_t steps, int optimizer) {
    const int32_t length = has_memory(policy) ? steps : 1, least = least_chunk(length);
    const int32_t most = (minibatch / length + least - 1) / least;
    const size_t chunks = (size_t)policy->layout.grads * (size_t)(most < MAX_CHUNKS ? most : MAX_CHUNKS) * 4;
    const size_t scratch = optimizer == PUF_MUON ? (size_t)puf_muon_net_scratch(&policy->layout.net) * 4 : 0;
    return puf_align_up(chunks > scratch ? chunks : scratch);
}

size_t puf_ppo_bytes(const puf_policy *policy, int64_t rows, int32_t minibatch, int32_t steps, int optimizer) {
    if (policy == NULL || rows < 1 || rows > 0x7FFFFFFF || minibatch < 1 || rows % minibatch != 0 || steps < 1 ||
        (has_memory(policy) && minibatch % steps != 0) || (optimizer != PUF_ADAM && optimizer != PUF_MUON)) {
        return 0;
    }
    return puf_align_up(sizeof(puf_ppo)) + puf_align_up((size_t)rows * 4) +
           chunk_bytes(policy, minibatch, steps, optimizer) + puf_align_up((size_t)policy->layout.params * 4) +
           unrolled_bytes(policy, steps) + (size_t)policy->layout.carried * 4 * (size_t)policy->tasks;
}

int puf_ppo_init(puf_ppo **out, void *mem, size_t bytes, puf_policy *policy, int64_t rows, int32_t minibatch, int32_t steps,
                 int optimizer) {
    if (out == NULL || mem == NULL || ((uintptr_t)mem & (PUF_ALIGN - 1)) != 0) { return PUF_EINVAL; }
    const size_t need = puf_ppo_bytes(policy, rows, minibatch, steps, optimizer);
    if (need == 0) { return PUF_EINVAL; }
    if (bytes < need) { return PUF_ENOMEM; }
    puf_zero(mem, need);
    puf_ppo *ppo = (puf_ppo *)mem;
    unsigned char *next = (unsigned char *)mem + puf_align_up(sizeof(puf_ppo));
    ppo->policy = policy;
    ppo->kernels = puf_kernels_get(policy->isa);
    ppo->rows = rows;
    ppo->minibatch = minibatch;
    ppo->optimizer = optimizer;
    ppo->steps = has_memory(policy) ? steps : 1;
    ppo->order = (int32_t *)next;
    next += puf_align_up((size_t)rows * 4);
    ppo->chunk_grads = (float *)next;
    next += chunk_bytes(policy, minibatch, steps, optimizer);
    ppo->grads = (float *)next;
    next += puf_align_up((size_t)policy->layout.params * 4);
    ppo->unrolled = (float *)next;
    next += unrolled_bytes(policy, steps);
    ppo->carried = (float *)next;
    *out = ppo;
    return PUF_OK;
}

/* Copies `count` consecutive rows of the batch, from row k, to place r of a slice. A row that is not valid becomes zero, with
 * weight zero, which keeps it out of every sum whatever it holds. */
static void load_rows(const minibatch_job *job, int64_t k, int32_t r, int32_t count, float *in, float *row) {
    const puf_batch *b = job->batch;
    const puf_layout *l = &job->ppo->policy->layout;
    const int32_t size = l->net.obs_size, components = l->net.action_size;
    const size_t bytes = (size_t)count * 4;
    puf_policy_rows(job->ppo->policy, puf_obs_row(&l->net, b->obs, k), count, in + (int64_t)r * size);
    puf_copy(row + PUF_ROW_LOGPROB * PUF_SLICE + r, b->logprob + k, bytes);
    puf_copy(row + PUF_ROW_TARGET * PUF_SLICE + r, b->target + k, bytes);
    puf_copy(row + PUF_ROW_VALUE * PUF_SLICE + r, b->value + k, bytes);
    float *PUF_RESTRICT advantage = row + PUF_ROW_ADVANTAGE * PUF_SLICE + r;
    float *PUF_RESTRICT weight = row + PUF_ROW_WEIGHT * PUF_SLICE + r;
    uint32_t *PUF_RESTRICT action = (uint32_t *)(row + PUF_ROW_COUNT * PUF_SLICE) + r;
    const uint32_t *PUF_RESTRICT taken = (const uint32_t *)b->action + k * components;
    int valid = 1;
    for (int32_t i = 0; i < count; i++) {
        const float importance = b->importance != NULL ? b->importance[k + i] : 1.0f;
        advantage[i] = (b->advantage[k + i] - job->advantage_mean) * job->advantage_scale * importance;
        weight[i] = job->weight;
        valid &= b->valid[k + i] != 0;
    }
    for (int32_t c = 0; c < components; c++) {
        for (int32_t i = 0; i < count; i++) { action[c * PUF_SLICE + i] = taken[i * components + c]; }
    }
    for (int32_t i = 0; !valid && i < count; i++) {
        if (b->valid[k + i]) { continue; }
        puf_zero(in + (int64_t)(r + i) * size, (size_t)size * 4);
        for (int32_t p = 0; p < PUF_ROW_COUNT + components; p++) { row[p * PUF_SLICE + r + i] = 0.0f; }
    }
}

static void load_masks(const minibatch_job *job, const int32_t *index, int64_t first, int32_t rows, uint8_t *mask) {
    const size_t wide = (size_t)puf_dist_mask_size(&job->ppo->policy->layout.dist);
    for (int32_t r = 0; r < PUF_SLICE; r++) {
        if (r < rows && job->batch->valid[first + index[r]]) {
            puf_copy(mask + wide * (size_t)r, job->batch->action_mask + wide * (size_t)(first + index[r]), wide);
        } else {
            puf_fill(mask + wide * (size_t)r, 1, wide);
        }
    }
}

/* Brings rows first + index of a slice into a scratch: inputs, per-row numbers, actions as planes. Places past `rows` become
 * zero; inputs there only up to `pass`, which is as many as the network takes. */
static void load_slice(const minibatch_job *job, const int32_t *index, int64_t first, int32_t rows, int32_t pass,
                       float *scratch, uint8_t *mask) {
    const puf_layout *l = &job->ppo->policy->layout;
    float *in = scratch + l->in, *row = scratch + l->row;
    for (int32_t r = 0; r < rows;) { /* rows are shuffled in blocks, so that most come in runs */
        int32_t run = 1;
        while (r + run < rows && index[r + run] == index[r] + run) { run++; }
        load_rows(job, first + index[r], r, run, in, row);
        r += run;
    }
    if (rows < PUF_SLICE) {
        const size_t rest = (size_t)(PUF_SLICE - rows);
        if (pass > rows) { puf_zero(in + (int64_t)rows * l->net.obs_size, (size_t)(pass - rows) * (size_t)l->net.obs_size * 4); }
        for (int32_t p = 0; p < PUF_ROW_COUNT + l->net.action_size; p++) { puf_zero(row + p * PUF_SLICE + rows, rest * 4); }
    }
    if (mask != NULL) { load_masks(job, index, first, rows, mask); }
}

/* What becomes of the carries of a slice after rows first + index. */
static void load_memory(const minibatch_job *job, const int32_t *index, int64_t first, int32_t rows, float *scratch) {
    const puf_batch *b = job->batch;
    uint8_t *memory = (uint8_t *)(scratch + job->ppo->policy->layout.memory);
    for (int32_t r = 0; r < PUF_SLICE; r++) {
        const int64_t k = first + (r < rows ? index[r] : 0);
        const int ended = r >= rows || b->terminated[k] || b->truncated[k];
        memory[r] = ended ? PUF_FORGOTTEN : (b->valid[k] ? PUF_HANDED_ON : PUF_KEPT);
    }
}

/* Heads and loss take whole vectors of rows: those past `rows` read outputs of 0. */
static void clear_outputs(const puf_layout *l, int32_t rows, float *scratch) {
    const int32_t past = (l->vector - rows % l->vector) % l->vector;
    for (int32_t t = 0; t < l->towers; t++) {
        const puf_tower *tower = &l->tower[t];
        puf_zero(scratch + tower->output + (int64_t)rows * tower->read_pad, (size_t)past * (size_t)tower->read_pad * 4);
    }
}

/* Adds the gradient of a slice of sequences: forward and loss step by step, then backward from the last. */
static void slice_gradient(minibatch_job *job, const int32_t *index, int32_t rows, int32_t chunk, int32_t thread) {
    const puf_ppo *ppo = job->ppo;
    const puf_policy *policy = ppo->policy;
    const puf_layout *l = &policy->layout;
    const int memory = has_memory(policy);
    uint8_t mask[PUF_MAX_LOGITS * PUF_SLICE];
    uint8_t *use_mask = job->batch->action_mask != NULL ? mask : NULL;
    float *grads = ppo->chunk_grads + (int64_t)chunk * l->grads;
    float *first = memory ? ppo->unrolled + (int64_t)thread * ppo->steps * l->scratch : puf_policy_scratch(policy, thread);
    float *carried = memory ? ppo->carried + thread * l->carried : NULL;
    const int32_t pass = l->net.encoders > 0 ? PUF_SLICE : rows; /* an encoder's groups of images are whole */
    for (int32_t r = 0; memory && r < pass; r++) {
        puf_carry_begin(l, first, r, r < rows ? job->batch->carry + index[r] * (int64_t)puf_net_carry(&l->net) : NULL);
    }
    for (int32_t t = 0; t < ppo->steps; t++) {
        float *scratch = first + t * l->scratch;
        load_slice(job, index, t * job->stride, rows, pass, scratch, use_mask);
        clear_outputs(l, pass, scratch);
        policy->kernels->forward(l, policy->packed, scratch, pass);
        policy->kernels->loss(l, &job->loss, policy->log_std, scratch, scratch + l->row + PUF_ROW_COUNT * PUF_SLICE,
                              use_mask, job->sums[chunk], grads, pass);
        if (memory) { load_memory(job, index, t * job->stride, rows, scratch); }
        if (t + 1 < ppo->steps) { puf_carry_next(l, scratch, pass, scratch + l->scratch); }
    }
    if (memory) { puf_zero(carried, (size_t)l->carried * 4); }
    for (int32_t t = ppo->steps - 1; t >= 0; t--) {
        policy->kernels->backward(l, policy->packed, first + t * l->scratch, carried, grads, pass);
        if (memory && t % GRADIENT_STEPS == 0) {
            const int32_t steps = ppo->steps - t < GRADIENT_STEPS ? ppo->steps - t : GRADIENT_STEPS;
            policy->kernels->core_gradients(l, first + t * l->scratch, pass, steps, grads);
        }
    }
}

static void chunk_task(void *context, int32_t chunk, int32_t thread) {
    minibatch_job *job = (minibatch_job *)context;
    const puf_layout *l = &job->ppo->policy->layout;
    puf_zero(job->ppo->chunk_grads + (int64_t)chunk * l->grads, (size_t)l->grads * 4);
    const int32_t end = (chunk + 1) * job->chunk_size < job->count ? (chunk + 1) * job->chunk_size : job->count;
    for (int32_t first = chunk * job->chunk_size; first < end; first += PUF_SLICE) {
        slice_gradient(job, job->index + first, end - first < PUF_SLICE ? end - first : PUF_SLICE, chunk, thread);
    }
}

/* Adds a range of the chunks' gradients to the first chunk's, in order. */
static void add_task(void *context, int32_t index, int32_t thread) {
    const minibatch_job *job = (const minibatch_job *)context;
    const puf_ppo *ppo = job->ppo;
    const int64_t all = ppo->policy->layout.grads, first = (int64_t)index * ADD_RANGE;
    const int64_t count = all - first < ADD_RANGE ? all - first : ADD_RANGE;
    (void)thread;
    for (int32_t k = 1; k < job->chunks; k++) {
        ppo->policy->kernels->add(ppo->chunk_grads + first, ppo->chunk_grads + k * all + first, count);
    }
}

/* Mean and inverse population deviation of the advantages of valid rows, and the weight of a row. In double, in an order
 * fixed by position (four sums side by side). */
static void advantage_statistics(minibatch_job *job, int normalize) {
    const puf_batch *b = job->batch;
    double sum[4] = {0}, squares[4] = {0};
    int32_t valid = 0;
    for (int32_t t = 0; t < job->ppo->steps; t++) {
        for (int32_t i = 0; i < job->count; i++) {
            const int64_t k = t * job->stride + job->index[i];
            const double x = b->valid[k] ? (double)b->advantage[k] : 0.0;
            sum[i & 3] += x;
            squares[i & 3] += x * x;
            valid += b->valid[k] != 0;
        }
    }
    job->weight = valid > 0 ? 1.0f / (float)valid : 0.0f;
    job->advantage_mean = 0.0f;
    job->advantage_scale = 1.0f;
    if (normalize && valid > 1) { /* one row has no deviation: left as it is */
        const double mean = ((sum[0] + sum[1]) + (sum[2] + sum[3])) / valid;
        const double variance = ((squares[0] + squares[1]) + (squares[2] + squares[3])) / valid - mean * mean;
        job->advantage_mean = (float)mean;
        job->advantage_scale = 1.0f / (puf_sqrt(variance > 0.0 ? (float)variance : 0.0f) + 1e-8f);
    }
}

/* Loss sums and canonical gradient of job->index; the policy's packed weights are current. */
static int minibatch_gradient(puf_ppo *ppo, const puf_exec *exec, const puf_ppo_config *c, minibatch_job *job, float *grads,
                              float *sums) {
    puf_policy *policy = ppo->policy;
    const puf_layout *l = &policy->layout;
    job->chunk_size = size_of_chunk(job->count, ppo->steps);
    job->chunks = (job->count + job->chunk_size - 1) / job->chunk_size;
    job->stride = job->batch->rows / ppo->steps;
    job->loss = (puf_loss_config){c->clip, c->value_clip, c->dual_clip, c->value_coef, c->entropy_coef, c->kl_coef};
    puf_zero(job->sums, sizeof job->sums);
    advantage_statistics(job, c->normalize_advantage);
    puf_exec_run(exec, chunk_task, job, job->chunks);
    puf_exec_run(exec, add_task, job, (int32_t)((l->grads + ADD_RANGE - 1) / ADD_RANGE));
    for (int32_t k = 1; k < job->chunks; k++) {
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

static int order_legal(const int32_t *order, int64_t count, int64_t rows) {
    for (int64_t i = 0; i < count; i++) {
        if (order[i] < 0 || order[i] >= rows) { return 0; }
    }
    return 1;
}

static int batch_legal(const puf_ppo *ppo, const puf_batch *b) {
    return b != NULL && b->obs != NULL && b->action != NULL && b->logprob != NULL && b->advantage != NULL &&
           b->target != NULL && b->value != NULL && b->valid != NULL && b->rows > 0 && b->rows % ppo->steps == 0 &&
           (!has_memory(ppo->policy) || (b->carry != NULL && b->terminated != NULL && b->truncated != NULL));
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
    if (ppo == NULL || !config_legal(config) || !batch_legal(ppo, batch) || index == NULL || params == NULL || grads == NULL ||
        count < 1 || count > ppo->minibatch / ppo->steps || puf_exec_width(exec) > ppo->policy->tasks) {
        return PUF_EINVAL;
    }
    if (!order_legal(index, count, batch->rows / ppo->steps)) { return PUF_EINVAL; }
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

int puf_minibatch_order(uint64_t seed, uint64_t update, int32_t epoch, int64_t rows, int32_t minibatch, int32_t *order) {
    if (order == NULL || epoch < 0 || rows < 1 || rows > 0x7FFFFFFF || minibatch < 1 || rows % minibatch != 0) {
        return PUF_EINVAL;
    }
    int32_t block = 16;
    while (minibatch % block != 0) { block /= 2; }
    const int32_t count = (int32_t)(rows / block);
    puf_rng rng = puf_rng_stream(seed, PUF_STREAM_SHUFFLE + (update >> 32));
    rng.counter[0] = (uint32_t)epoch * (uint32_t)(count - 1);
    rng.counter[1] = (uint32_t)update; /* 2^32 draws for each update */
    for (int32_t i = 0; i < count; i++) { order[i] = i; }
    for (int32_t i = count - 1; i > 0; i--) { /* Fisher and Yates over blocks */
        uint32_t word, unused;
        puf_rng_next(&rng, &word, &unused);
        const int32_t j = (int32_t)puf_below(word, (uint32_t)i + 1u);
        const int32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (int32_t i = count - 1; i >= 0; i--) { /* blocks become rows, from the end, in place */
        const int32_t first = order[i] * block;
        for (int32_t k = 0; k < block; k++) { order[i * block + k] = first + k; }
    }
    return PUF_OK;
}

static int take_step(puf_ppo *ppo, const puf_exec *exec, const puf_ppo_config *c, int64_t step, float *params, float *m, float *v,
                     float *norm) {
    const puf_policy *policy = ppo->policy;
    if (ppo->optimizer == PUF_ADAM) {
        return puf_adam(policy->isa, &c->adam, step, params, ppo->grads, m, v, (int32_t)policy->layout.params, norm);
    }
    return puf_muon_step(policy->isa, exec, &policy->layout.net, &c->adam, c->momentum, step, params, ppo->grads, m, v,
                         ppo->chunk_grads, norm);
}

int puf_ppo_update(puf_ppo *ppo, const puf_exec *exec, const puf_ppo_config *config, const puf_batch *batch, uint64_t seed,
                   uint64_t update, float *params, float *m, float *v, int64_t *step, puf_ppo_metrics *metrics) {
    if (ppo == NULL || !config_legal(config) || !batch_legal(ppo, batch) || params == NULL || m == NULL || v == NULL ||
        step == NULL || metrics == NULL || batch->rows != ppo->rows || config->minibatch != ppo->minibatch ||
        puf_exec_width(exec) > ppo->policy->tasks ||
        (batch->order != NULL && !order_legal(batch->order, config->epochs * (ppo->rows / ppo->steps), ppo->rows / ppo->steps))) {
        return PUF_EINVAL;
    }
    puf_policy *policy = ppo->policy;
    const puf_layout *l = &policy->layout;
    const int32_t per_epoch = (int32_t)(ppo->rows / ppo->minibatch), count = ppo->minibatch / ppo->steps;
    puf_zero(metrics, sizeof *metrics);
    int32_t seen = 0;
    float norms = 0.0f;
    int status = PUF_OK;
    for (int32_t epoch = 0; epoch < config->epochs && status == PUF_OK && !metrics->stopped; epoch++) {
        const int64_t taken = ppo->rows / ppo->steps; /* rows, or environments, of an epoch */
        const int32_t *order = batch->order != NULL ? batch->order + epoch * taken : ppo->order;
        if (batch->order == NULL) { puf_minibatch_order(seed, update, epoch, taken, count, ppo->order); }
        for (int32_t k = 0; k < per_epoch; k++) {
            minibatch_job job = {.ppo = ppo, .batch = batch, .index = order + (int64_t)k * count, .count = count};
            float sums[PUF_SUM_COUNT], norm = 0.0f;
            policy->kernels->pack(l, params, policy->packed);
            puf_copy(policy->log_std, params + l->log_std, (size_t)l->net.action_numbers * 4);
            status = minibatch_gradient(ppo, exec, config, &job, ppo->grads, sums);
            if (status == PUF_OK && config->target_kl > 0.0f && sums[PUF_SUM_KL] > config->target_kl) {
                metrics->stopped = 1;
                break;
            }
            if (status == PUF_OK) {
                status = take_step(ppo, exec, config, *step + 1, params, m, v, &norm);
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
