#include "puffer/rollout.h"

#include "kernels.h"
#include "puffer/math.h"

typedef struct {
    puf_vec *vec;
    const puf_policy *policy;
    const puf_segment *s;
    uint64_t seed, first_step;
    /* By thread. */
    int32_t finished[PUF_MAX_THREADS];
    int64_t bad_row[PUF_MAX_THREADS]; /* the first; -1: none */
    int64_t bad_mask[PUF_MAX_THREADS];
} collect_job;

/* 1 if all of x is finite. A sum of zeros: NaN and infinity times zero are NaN. */
static int all_finite(const float *x, int64_t n) {
    float zero = 0.0f;
    for (int64_t i = 0; i < n; i++) { zero += x[i] * 0.0f; }
    return zero == 0.0f;
}

/* What the policy hands on to environment i. */
static float *carry_of(const collect_job *job, int64_t i) {
    const int64_t n = puf_vec_size(job->vec);
    return job->s->carry + (n + i) * puf_net_carry(&job->policy->layout.net);
}

/* Takes what the policy made of row t from the scratch; what a row that is not valid was acted on with stays. */
static void remember(const collect_job *job, int32_t thread, int32_t t, int32_t first, int32_t count) {
    const puf_segment *s = job->s;
    const float *scratch = puf_policy_scratch(job->policy, thread);
    for (int32_t r = 0; r < count; r++) {
        const int64_t k = (int64_t)t * puf_vec_size(job->vec) + first + r;
        if (s->valid == NULL || s->valid[k] || s->terminated[k] || s->truncated[k]) {
            puf_carry_end(&job->policy->layout, scratch, r, carry_of(job, first + r));
        }
    }
}

/* Nothing is handed on where an episode ended with row t. */
static void forget(const collect_job *job, int32_t t, int32_t first, int32_t count) {
    const puf_segment *s = job->s;
    for (int32_t i = first; i < first + count; i++) {
        const int64_t k = (int64_t)t * puf_vec_size(job->vec) + i;
        if (s->terminated[k] || s->truncated[k]) {
            puf_zero(carry_of(job, i), (size_t)puf_net_carry(&job->policy->layout.net) * 4);
        }
    }
}

/* Values of the final observations of rows that were truncated in this step: gathered, one forward. */
static void value_truncated(const collect_job *job, int32_t thread, int32_t t, int32_t first, int32_t count) {
    const puf_segment *s = job->s;
    const puf_layout *l = &job->policy->layout;
    const int64_t n = puf_vec_size(job->vec), size = l->net.obs_size;
    int32_t who[PUF_SLICE], found = 0;
    for (int32_t i = first; i < first + count; i++) {
        const int64_t k = t * n + i;
        if (s->truncated[k] && !s->terminated[k]) { who[found++] = i; }
    }
    if (found == 0) { return; }
    float *scratch = puf_policy_scratch(job->policy, thread);
    for (int32_t r = 0; r < found; r++) {
        if (s->carry != NULL) { puf_carry_begin(l, scratch, r, carry_of(job, who[r])); }
        puf_policy_rows(job->policy, s->final_obs + who[r] * size, 1, scratch + l->in + r * size);
    }
    job->policy->kernels->forward(l, job->policy->packed, scratch, found);
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

/* Keeps the smallest row in *first; -1 is none. */
static void note(int64_t *first, int64_t row) {
    if (row >= 0 && (*first < 0 || row < *first)) { *first = row; }
}

/* What environments [first, first + count) get of the actions (n, ...) of a row. */
static const void *given(const collect_job *job, const unsigned char *action, int32_t first, int32_t count) {
    const puf_segment *s = job->s;
    const puf_net *net = &job->policy->layout.net;
    if (s->given == NULL) { return action; }
    const size_t bytes = 4 * (size_t)net->action_size, skipped = bytes * (size_t)first;
    unsigned char *to = (unsigned char *)s->given + skipped;
    puf_copy(to, action + skipped, bytes * (size_t)count);
    (void)puf_squash(s->low, s->high, net->action_size - net->action_numbers, net->action_numbers, count, to);
    return s->given;
}

static void collect_group(collect_job *job, int32_t thread, int32_t first, int32_t count) {
    const puf_segment *s = job->s;
    const puf_layout *l = &job->policy->layout;
    const int64_t n = puf_vec_size(job->vec), size = l->net.obs_size, wide = l->net.action_size;
    const int64_t choices = puf_dist_mask_size(&l->dist);
    const size_t kept = (size_t)count * (size_t)puf_net_carry(&l->net) * 4;
    const float *carry = NULL;
    float last[PUF_SLICE];
    if (s->carry != NULL) {
        carry = carry_of(job, first);
        puf_copy(carry_of(job, first), carry - n * puf_net_carry(&l->net), kept);
    }
    for (int32_t t = 0; t < s->steps; t++) {
        const int64_t row = t * n;
        const float *obs = s->obs + (row + first) * size;
        if (!all_finite(obs, count * size)) {
            int32_t i = 0;
            while (all_finite(obs + i * size, size)) { i++; }
            note(&job->bad_row[thread], row + first + i);
        }
        unsigned char *action = (unsigned char *)s->action + row * wide * 4;
        const uint8_t *mask = s->action_mask != NULL ? s->action_mask + (row + first) * choices : NULL;
        int64_t bad;
        if (mask != NULL && !puf_masks_legal(&l->dist, mask, count, &bad)) {
            note(&job->bad_mask[thread], row + first + bad);
        }
        puf_policy_act_slice(job->policy, thread, obs, mask, count, job->seed, (uint32_t)first, job->first_step + (uint64_t)t, 0,
                             carry, action + first * wide * 4, s->logprob + row + first, s->value + row + first);
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
            .action_mask = s->action_mask != NULL ? s->action_mask + (row + n) * choices : NULL,
        };
        const int32_t finished = puf_vec_step_range(job->vec, first, count, given(job, action, first, count), &out);
        if (carry != NULL) { remember(job, thread, t, first, count); }
        if (finished > 0) {
            job->finished[thread] += finished;
            value_truncated(job, thread, t, first, count);
            if (carry != NULL) { forget(job, t, first, count); }
        }
        if (!all_finite(out.reward + first, count)) {
            int32_t i = 0;
            while (all_finite(out.reward + first + i, 1)) { i++; }
            note(&job->bad_row[thread], row + n + first + i);
        }
    }
    float *scratch = puf_policy_scratch(job->policy, thread);
    puf_policy_input(job->policy, s->obs + (s->steps * n + first) * size, count, scratch);
    puf_carry_load(l, carry, count, scratch);
    job->policy->kernels->forward(l, job->policy->packed, scratch, count);
    puf_copy(last, scratch + l->heads + (int64_t)l->logits * PUF_SLICE, (size_t)count * 4);
    link_values(s, n, s->steps - 1, first, count, last);
}

static void collect_task(void *context, int32_t index, int32_t thread) {
    collect_job *job = (collect_job *)context;
    const int32_t first = index * PUF_SLICE, rest = puf_vec_size(job->vec) - first;
    collect_group(job, thread, first, rest < PUF_SLICE ? rest : PUF_SLICE);
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
    const int32_t numbers = info->action_kind == PUF_ACTION_CONTINUOUS ? info->action_size : 0;
    if (info->obs_size != net->obs_size || net->obs_number != PUF_F32 || info->action_size != net->action_size ||
        numbers != net->action_numbers) {
        return PUF_EINVAL;
    }
    for (int32_t k = 0; k < info->action_size - numbers; k++) {
        if (info->action_n[k] != net->action_n[k]) { return PUF_EINVAL; }
    }
    collect_job job = {.vec = vec, .policy = policy, .s = s, .seed = seed, .first_step = first_step};
    const int32_t width = puf_exec_width(exec);
    if ((s->carry != NULL) != (net->core != PUF_NO_CORE)) { return PUF_EINVAL; }
    if ((s->given != NULL) != net->action_squash || (s->given != NULL && (s->low == NULL || s->high == NULL))) {
        return PUF_EINVAL;
    }
    if (width > policy->tasks || (s->action_mask == NULL) != (info->masks == 0)) { return PUF_EINVAL; }
    for (int32_t k = 0; k < width; k++) { job.bad_row[k] = job.bad_mask[k] = -1; }
    puf_exec_run(exec, collect_task, &job, (puf_vec_size(vec) + PUF_SLICE - 1) / PUF_SLICE);
    int32_t finished = 0;
    int64_t nonfinite = -1, mask = -1;
    for (int32_t k = 0; k < width; k++) {
        finished += job.finished[k];
        note(&nonfinite, job.bad_row[k]);
        note(&mask, job.bad_mask[k]);
    }
    if (bad_row != NULL) { *bad_row = nonfinite >= 0 ? nonfinite : mask; }
    return nonfinite >= 0 ? PUF_ENONFINITE : (mask >= 0 ? PUF_EMASK : finished);
}
