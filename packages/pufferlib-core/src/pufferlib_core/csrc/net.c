#include "puffer/net.h"

#include "kernels.h"
#include "puffer/math.h"
#include "seeds.h"

/* --- initial parameters ----------------------------------------------------------------------------------------------- */

/* Long vectors are summed as many sums side by side: much faster, closer, and the same on every target. */
static float product(const float *a, const float *b, int32_t n) {
    enum { LONG = 2048, SUMS = 16 };
    float sums[SUMS] = {0}, total = 0.0f;
    int32_t i = 0;
    for (; n >= LONG && i + SUMS <= n; i += SUMS) {
        for (int j = 0; j < SUMS; j++) { sums[j] += a[i + j] * b[i + j]; }
    }
    for (; i < n; i++) { total += a[i] * b[i]; }
    for (int j = 0; n >= LONG && j < SUMS; j++) { total += sums[j]; }
    return total;
}

/* `count` orthonormal vectors of `length` (count <= length) from normal numbers, by modified Gram and Schmidt, twice. */
static void orthonormal(float *x, int32_t count, int32_t length, puf_rng *rng) {
    for (int64_t i = 0; i < (int64_t)count * length; i++) {
        uint32_t a, b;
        float s, c;
        puf_rng_next(rng, &a, &b);
        puf_sincos(6.28318530717958648f * puf_unit(a), &s, &c);
        x[i] = puf_sqrt(-2.0f * puf_log(puf_unit_open(b))) * c;
    }
    for (int32_t r = 0; r < count; r++) {
        float *row = x + (int64_t)r * length;
        for (int pass = 0; pass < 2; pass++) {
            for (int32_t q = 0; q < r; q++) {
                const float *other = x + (int64_t)q * length;
                const float dot = product(row, other, length);
                for (int32_t i = 0; i < length; i++) { row[i] -= dot * other[i]; }
            }
            const float scale = 1.0f / puf_sqrt(product(row, row, length));
            for (int32_t i = 0; i < length; i++) { row[i] *= scale; }
        }
    }
}

/* Initial value of number i of a bias (or of log_std). */
static float initial_bias(const puf_net *net, const puf_tensor *t, int32_t i, float log_std) {
    if (t->part == 5) { return log_std; }
    const int forget = t->encoder == PUF_OWN_CORE && net->core == PUF_LSTM && i / net->core_size == 1;
    return forget ? 1.0f : 0.0f;
}

static float initial_gain(const puf_tensor *t) {
    if (t->part == 3) { return 0.01f; }
    return t->part == 4 || t->encoder == PUF_OWN_CORE ? 1.0f : 1.41421356237f;
}

int puf_net_init(const puf_net *net, uint64_t seed, float log_std, float *params, float *scratch) {
    if (puf_net_check(net) != PUF_OK || params == NULL || scratch == NULL) { return PUF_EINVAL; }
    for (int32_t index = 0; index < puf_net_tensors(net); index++) {
        puf_tensor t;
        puf_net_tensor(net, index, &t);
        float *to = params + t.offset;
        if (t.bias) {
            for (int32_t i = 0; i < t.rows; i++) { to[i] = initial_bias(net, &t, i, log_std); }
            continue;
        }
        const float gain = initial_gain(&t);
        const int wide = t.cols >= t.rows; /* the orthonormal vectors are rows, else columns */
        puf_rng rng = puf_rng_stream(seed, PUF_STREAM_INIT + (uint64_t)index);
        orthonormal(scratch, wide ? t.rows : t.cols, wide ? t.cols : t.rows, &rng);
        for (int32_t r = 0; r < t.rows; r++) {
            for (int32_t c = 0; c < t.cols; c++) {
                to[(int64_t)r * t.cols + c] = gain * (wide ? scratch[(int64_t)r * t.cols + c] : scratch[(int64_t)c * t.rows + r]);
            }
        }
    }
    return PUF_OK;
}

/* --- policies --------------------------------------------------------------------------------------------------------- */

size_t puf_policy_bytes(const puf_net *net, int isa, int32_t tasks) {
    const puf_kernels *kernels = puf_kernels_get(isa);
    if (kernels == NULL || puf_net_check(net) != PUF_OK || tasks < 1) {
        return 0;
    }
    puf_layout layout;
    puf_layout_make(&layout, net, kernels->net.vector);
    return puf_align_up(sizeof(puf_policy)) + puf_align_up((size_t)layout.packed * 4) +
           puf_align_up((size_t)net->action_size * 4) + 2 * puf_align_up((size_t)net->obs_size * 4) +
           (size_t)layout.scratch * 4 * (size_t)tasks;
}

int puf_policy_init(puf_policy **out, void *mem, size_t bytes, const puf_net *net, int isa, int32_t tasks) {
    if (out == NULL || mem == NULL || ((uintptr_t)mem & (PUF_ALIGN - 1)) != 0) { return PUF_EINVAL; }
    const size_t need = puf_policy_bytes(net, isa, tasks);
    if (need == 0) { return PUF_EINVAL; }
    if (bytes < need) { return PUF_ENOMEM; }
    puf_zero(mem, need);
    puf_policy *policy = (puf_policy *)mem;
    policy->kernels = &puf_kernels_get(isa)->net;
    policy->dist_kernels = &puf_kernels_get(isa)->dist;
    policy->isa = isa;
    policy->tasks = tasks;
    puf_layout_make(&policy->layout, net, policy->kernels->vector);
    unsigned char *next = (unsigned char *)mem + puf_align_up(sizeof(puf_policy));
    policy->packed = (float *)next;
    next += puf_align_up((size_t)policy->layout.packed * 4);
    policy->log_std = (float *)next;
    next += puf_align_up((size_t)net->action_size * 4);
    policy->mean = (float *)next;
    next += puf_align_up((size_t)net->obs_size * 4);
    policy->scale = (float *)next;
    next += puf_align_up((size_t)net->obs_size * 4);
    policy->scratch = (float *)next;
    *out = policy;
    return PUF_OK;
}

int puf_policy_load(puf_policy *policy, const float *params, const float *mean, const float *scale, float clip) {
    if (policy == NULL || params == NULL || (mean != NULL && scale == NULL)) { return PUF_EINVAL; }
    const puf_layout *l = &policy->layout;
    policy->kernels->pack(l, params, policy->packed);
    puf_copy(policy->log_std, params + l->log_std, (size_t)l->net.action_numbers * 4);
    policy->normalize = mean != NULL;
    policy->clip = clip;
    if (mean != NULL) {
        puf_copy(policy->mean, mean, (size_t)l->net.obs_size * 4);
        puf_copy(policy->scale, scale, (size_t)l->net.obs_size * 4);
    }
    return PUF_OK;
}

float *puf_policy_scratch(const puf_policy *policy, int32_t task) {
    return policy->scratch + policy->layout.scratch * task;
}

const void *puf_obs_row(const puf_net *net, const void *obs, int64_t row) {
    return (const uint8_t *)obs + row * net->obs_size * (net->obs_number == PUF_U8 ? 1 : 4);
}

/* A row of bytes or, where these are NULL, of float32 numbers that are normalised. */
static void read_row(const puf_policy *policy, const uint8_t *PUF_RESTRICT bytes, const float *PUF_RESTRICT numbers,
                     float *PUF_RESTRICT in) {
    const int32_t size = policy->layout.net.obs_size;
    const float *PUF_RESTRICT mean = policy->mean, *PUF_RESTRICT scale = policy->scale;
    const float clip = policy->clip;
    if (!policy->normalize) {
        for (int32_t i = 0; i < size; i++) { in[i] = (float)bytes[i]; }
        return;
    }
    for (int32_t i = 0; i < size; i++) {
        const float x = bytes != NULL ? (float)bytes[i] : numbers[i];
        in[i] = puf_clamp((x - mean[i]) * scale[i], -clip, clip);
    }
}

void puf_policy_rows(const puf_policy *policy, const void *obs, int32_t rows, float *PUF_RESTRICT in) {
    const puf_net *net = &policy->layout.net;
    const int bytes = net->obs_number == PUF_U8;
    if (!bytes && !policy->normalize) {
        puf_copy(in, obs, (size_t)rows * (size_t)net->obs_size * 4);
        return;
    }
    for (int32_t r = 0; r < rows; r++) {
        const void *row = puf_obs_row(net, obs, r);
        read_row(policy, bytes ? row : NULL, bytes ? NULL : row, in + (int64_t)r * net->obs_size);
    }
}

void puf_policy_input(const puf_policy *policy, const void *obs, int32_t rows, float *scratch) {
    puf_policy_rows(policy, obs, rows, scratch + policy->layout.in);
}

typedef struct {
    const puf_policy *policy;
    const void *obs;
    const uint8_t *action_mask;
    int32_t n;
    uint64_t seed, step;
    uint32_t first_env;
    int greedy;
    unsigned char *action;
    float *logits, *logprob, *value;
    const float *carry;
    float *carry_out;
} policy_job;

/* The carry that rows from `first` on start with. */
static const float *carry_at(const policy_job *job, int32_t first) {
    return job->carry != NULL ? job->carry + (int64_t)first * puf_net_carry(&job->policy->layout.net) : NULL;
}

enum { TASK_ROWS = 4 * PUF_SLICE }; /* rows of one task */

static int32_t task_count(int32_t n) { return (n + TASK_ROWS - 1) / TASK_ROWS; }

static void forward_task(void *context, int32_t index, int32_t thread) {
    const policy_job *job = (const policy_job *)context;
    const puf_policy *policy = job->policy;
    const puf_layout *l = &policy->layout;
    float *scratch = puf_policy_scratch(policy, thread);
    const float *heads = scratch + l->heads;
    const int32_t end = (index + 1) * TASK_ROWS < job->n ? (index + 1) * TASK_ROWS : job->n;
    for (int32_t first = index * TASK_ROWS; first < end; first += PUF_SLICE) {
        const int32_t rows = end - first < PUF_SLICE ? end - first : PUF_SLICE;
        puf_policy_input(policy, puf_obs_row(&l->net, job->obs, first), rows, scratch);
        puf_carry_load(l, carry_at(job, first), rows, scratch);
        policy->kernels->forward(l, policy->packed, scratch, rows);
        for (int32_t r = 0; job->logits != NULL && r < rows; r++) {
            for (int32_t k = 0; k < l->logits; k++) {
                job->logits[(int64_t)(first + r) * l->logits + k] = heads[(int64_t)k * PUF_SLICE + r];
            }
        }
        if (job->value != NULL) {
            puf_copy(job->value + first, heads + (int64_t)l->logits * PUF_SLICE, (size_t)rows * 4);
        }
    }
}

int puf_policy_forward(puf_policy *policy, const puf_exec *exec, const void *obs, const float *carry, int32_t n, float *logits,
                       float *value) {
    if (policy == NULL || obs == NULL || n < 1 || puf_exec_width(exec) > policy->tasks ||
        (carry != NULL) != (policy->layout.net.core != PUF_NO_CORE)) {
        return PUF_EINVAL;
    }
    policy_job job = {.policy = policy, .obs = obs, .n = n, .logits = logits, .value = value, .carry = carry};
    puf_exec_run(exec, forward_task, &job, task_count(n));
    return PUF_OK;
}

void puf_policy_act_slice(const puf_policy *policy, int32_t task, const void *obs, const uint8_t *action_mask, int32_t rows,
                          uint64_t seed, uint32_t first_env, uint64_t step, int greedy, const float *carry, void *action,
                          float *logprob, float *value) {
    const puf_layout *l = &policy->layout;
    const int32_t components = l->net.action_size;
    float *scratch = puf_policy_scratch(policy, task);
    PUF_ALIGNED(64) uint32_t words[2 * PUF_MAX_HEADS * PUF_SLICE];
    PUF_ALIGNED(64) uint32_t actions[PUF_MAX_HEADS * PUF_SLICE];
    PUF_ALIGNED(64) float logprobs[PUF_SLICE];
    uint8_t padded[PUF_MAX_LOGITS * PUF_SLICE];
    puf_policy_input(policy, obs, rows, scratch);
    puf_carry_load(l, carry, rows, scratch);
    policy->kernels->forward(l, policy->packed, scratch, rows);
    if (!greedy) { policy->dist_kernels->noise(seed, step, first_env, rows, components, words); }
    policy->dist_kernels->sample(&l->dist, scratch + l->heads, policy->log_std,
                                 puf_mask_slice(&l->dist, action_mask, rows, padded), rows, words, greedy, actions, logprobs);
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t c = 0; c < components; c++) {
            ((uint32_t *)action)[(int64_t)r * components + c] = actions[(int64_t)c * PUF_SLICE + r];
        }
    }
    if (logprob != NULL) { puf_copy(logprob, logprobs, (size_t)rows * 4); }
    if (value != NULL) { puf_copy(value, scratch + l->heads + (int64_t)l->logits * PUF_SLICE, (size_t)rows * 4); }
}

static void act_task(void *context, int32_t index, int32_t thread) {
    const policy_job *job = (const policy_job *)context;
    const puf_layout *l = &job->policy->layout;
    const int32_t end = (index + 1) * TASK_ROWS < job->n ? (index + 1) * TASK_ROWS : job->n;
    for (int32_t first = index * TASK_ROWS; first < end; first += PUF_SLICE) {
        const int32_t rows = end - first < PUF_SLICE ? end - first : PUF_SLICE;
        puf_policy_act_slice(job->policy, thread, puf_obs_row(&l->net, job->obs, first),
                             job->action_mask != NULL ? job->action_mask + (int64_t)first * puf_dist_mask_size(&l->dist) : NULL,
                             rows, job->seed, job->first_env + (uint32_t)first, job->step, job->greedy, carry_at(job, first),
                             job->action + (int64_t)first * l->net.action_size * 4,
                             job->logprob != NULL ? job->logprob + first : NULL,
                             job->value != NULL ? job->value + first : NULL);
        for (int32_t r = 0; job->carry_out != NULL && r < rows; r++) {
            puf_carry_end(l, puf_policy_scratch(job->policy, thread), r,
                          job->carry_out + (int64_t)(first + r) * puf_net_carry(&l->net));
        }
    }
}

int puf_policy_act(puf_policy *policy, const puf_exec *exec, const void *obs, const uint8_t *action_mask, int32_t n,
                   uint64_t seed, uint32_t first_env, uint64_t step, int greedy, float *carry, void *action, float *logprob,
                   float *value) {
    int64_t bad;
    if (policy == NULL || (carry != NULL) != (policy->layout.net.core != PUF_NO_CORE) || obs == NULL || action == NULL || n < 1 || puf_exec_width(exec) > policy->tasks ||
        (action_mask != NULL && puf_dist_choices(&policy->layout.dist) == 0)) {
        return PUF_EINVAL;
    }
    if (action_mask != NULL && !puf_masks_legal(&policy->layout.dist, action_mask, n, &bad)) { return PUF_EMASK; }
    policy_job job = {.policy = policy, .obs = obs, .action_mask = action_mask, .n = n, .seed = seed, .step = step,
                      .first_env = first_env, .greedy = greedy, .action = (unsigned char *)action, .logprob = logprob,
                      .value = value, .carry = carry, .carry_out = carry};
    puf_exec_run(exec, act_task, &job, task_count(n));
    return PUF_OK;
}
