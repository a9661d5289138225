#include "puffer/rollout.h"

#include "kernels.h"
#include "puffer/math.h"

typedef struct {
    puf_vec *vec;
    const puf_policy *policy;
    const puf_segment *s;
    uint64_t seed, first_step;
    int32_t groups, tasks;
    int32_t finished[64];
    int64_t bad_row[64]; /* by task; -1: none */
} collect_job;

/* 1 if all of x is finite. A sum of zeros: NaN and infinity times zero are NaN. */
static int all_finite(const float *x, int64_t n) {
    float zero = 0.0f;
    for (int64_t i = 0; i < n; i++) { zero += x[i] * 0.0f; }
    return zero == 0.0f;
}

/* Values of the final observations of rows that were truncated in this step: gathered, one forward. */
static void value_truncated(const collect_job *job, int32_t task, int32_t t, int32_t first, int32_t count) {
    const puf_segment *s = job->s;
    const puf_layout *l = &job->policy->layout;
    const int64_t n = puf_vec_size(job->vec), size = l->net.obs_size;
    int32_t who[PUF_SLICE], found = 0;
    for (int32_t i = first; i < first + count; i++) {
        const int64_t k = t * n + i;
        if (s->truncated[k] && !s->terminated[k]) { who[found++] = i; }
    }
    if (found == 0) { return; }
    float *scratch = puf_policy_scratch(job->policy, task);
    puf_policy_input(job->policy, s->obs, 0, scratch);
    float *in = scratch + l->in;
    for (int32_t r = 0; r < found; r++) {
        const float *from = s->final_obs + who[r] * size;
        for (int64_t j = 0; j < size; j++) {
            in[r * l->obs_pad + j] = job->policy->normalize ? puf_clamp((from[j] - job->policy->mean[j]) * job->policy->scale[j],
                                                                        -job->policy->clip, job->policy->clip)
                                                            : from[j];
        }
    }
    job->policy->kernels->forward(l, job->policy->packed, scratch);
    const float *value = scratch + l->heads + (int64_t)l->logits * PUF_SLICE;
    for (int32_t r = 0; r < found; r++) { s->next_value[t * n + who[r]] = value[r]; }
}

/* next_value of row t, given the values of row t + 1; truncated rows have theirs already. */
static void link_values(const puf_segment *s, int64_t n, int32_t t, int32_t first, int32_t count, const float *value) {
    for (int32_t i = 0; i < count; i++) {
        const int64_t k = t * n + first + i;
        const float next = s->terminated[k] ? 0.0f : value[i];
        s->next_value[k] = s->truncated[k] && !s->terminated[k] ? s->next_value[k] : next;
    }
}

static void collect_group(collect_job *job, int32_t task, int32_t first, int32_t count) {
    const puf_segment *s = job->s;
    const puf_layout *l = &job->policy->layout;
    const int64_t n = puf_vec_size(job->vec), size = l->net.obs_size, wide = l->net.action_size;
    float last[PUF_SLICE];
    for (int32_t t = 0; t < s->steps; t++) {
        const int64_t row = t * n;
        const float *obs = s->obs + (row + first) * size;
        if (job->bad_row[task] < 0 && !all_finite(obs, count * size)) {
            int32_t i = 0;
            while (all_finite(obs + i * size, size)) { i++; }
            job->bad_row[task] = row + first + i;
        }
        unsigned char *action = (unsigned char *)s->action + row * wide * 4;
        puf_policy_act_slice(job->policy, task, obs, NULL, count, job->seed, (uint32_t)first, job->first_step + (uint64_t)t, 0,
                             action + first * wide * 4, s->logprob + row + first, s->value + row + first);
        if (t > 0) { link_values(s, n, t - 1, first, count, s->value + row + first); }
        const puf_planes out = {
            .obs = s->obs + (row + n) * size,
            .reward = s->reward + row,
            .cost = s->cost != NULL ? s->cost + row : NULL,
            .terminated = s->terminated + row,
            .truncated = s->truncated + row,
            .valid = s->valid != NULL ? s->valid + row : NULL,
            .final_obs = s->final_obs,
            .log = s->log != NULL ? s->log + row : NULL,
        };
        const int32_t finished = puf_vec_step_range(job->vec, first, count, action, &out);
        if (finished > 0) {
            job->finished[task] += finished;
            value_truncated(job, task, t, first, count);
        }
        if (job->bad_row[task] < 0 && !all_finite(out.reward + first, count)) {
            int32_t i = 0;
            while (all_finite(out.reward + first + i, 1)) { i++; }
            job->bad_row[task] = row + n + first + i;
        }
    }
    float *scratch = puf_policy_scratch(job->policy, task);
    puf_policy_input(job->policy, s->obs + (s->steps * n + first) * size, count, scratch);
    job->policy->kernels->forward(l, job->policy->packed, scratch);
    puf_copy(last, scratch + l->heads + (int64_t)l->logits * PUF_SLICE, (size_t)count * 4);
    link_values(s, n, s->steps - 1, first, count, last);
}

static void collect_task(void *context, int32_t task) {
    collect_job *job = (collect_job *)context;
    const int32_t n = puf_vec_size(job->vec);
    for (int32_t g = task; g < job->groups; g += job->tasks) {
        const int32_t first = g * PUF_SLICE;
        collect_group(job, task, first, n - first < PUF_SLICE ? n - first : PUF_SLICE);
    }
}

int puf_collect(puf_vec *vec, puf_policy *policy, const puf_exec *exec, const puf_segment *s, uint64_t seed,
                uint64_t first_step, int64_t *bad_row) {
    if (vec == NULL || policy == NULL || s == NULL || s->steps < 1 || s->obs == NULL || s->action == NULL ||
        s->logprob == NULL || s->value == NULL || s->next_value == NULL || s->reward == NULL || s->terminated == NULL ||
        s->truncated == NULL || s->final_obs == NULL) {
        return PUF_EINVAL;
    }
    const puf_env_info *info = puf_vec_info(vec);
    const puf_net *net = &policy->layout.net;
    if (info->obs_size != net->obs_size || info->action_kind != net->action_kind || info->action_size != net->action_size) {
        return PUF_EINVAL;
    }
    for (int32_t k = 0; info->action_kind == PUF_ACTION_DISCRETE && k < info->action_size; k++) {
        if (info->action_n[k] != net->action_n[k]) { return PUF_EINVAL; }
    }
    collect_job job = {.vec = vec, .policy = policy, .s = s, .seed = seed, .first_step = first_step};
    job.groups = (puf_vec_size(vec) + PUF_SLICE - 1) / PUF_SLICE;
    job.tasks = puf_exec_width(exec) < policy->tasks ? puf_exec_width(exec) : policy->tasks;
    if (job.tasks > 64) { job.tasks = 64; }
    for (int32_t k = 0; k < job.tasks; k++) { job.bad_row[k] = -1; }
    puf_exec_run(exec, collect_task, &job, job.tasks);
    int32_t finished = 0;
    int64_t bad = -1;
    for (int32_t k = 0; k < job.tasks; k++) {
        finished += job.finished[k];
        if (job.bad_row[k] >= 0 && (bad < 0 || job.bad_row[k] < bad)) { bad = job.bad_row[k]; }
    }
    if (bad_row != NULL) { *bad_row = bad; }
    return bad >= 0 ? PUF_ENONFINITE : finished;
}
