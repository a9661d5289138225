/* How far an update has moved a policy: what pufferlib_core.algorithms.ppo.divergence measures. */
#include "web.h"

#include "puffer/math.h"

int puf_web_moved_allocate(puf_web_moved *moved, const puf_web_policy *policy, size_t n, size_t rows) {
    const puf_net *net = &policy->net;
    const size_t logits = (size_t)puf_net_logits(net), carry = (size_t)puf_net_carry(net), numbers = (size_t)net->action_numbers;
    for (int k = 0; k < 2; k++) {
        moved->heads[k] = puf_web_alloc(4 * rows * logits);
        moved->carry[k] = carry > 0 ? puf_web_alloc(4 * n * carry) : NULL;
        if (moved->heads[k] == NULL || (carry > 0 && moved->carry[k] == NULL)) { return 0; }
    }
    moved->log_std = puf_web_alloc(4 * numbers);
    moved->logprob = puf_web_alloc(4 * n);
    moved->value = puf_web_alloc(4 * n);
    moved->action = puf_web_alloc(4 * n * (size_t)net->action_size);
    return moved->log_std != NULL && moved->logprob != NULL && moved->value != NULL && moved->action != NULL;
}

/* Logarithms of the deviations are the last of the parameters. */
static const float *log_std_of(const puf_web_policy *policy) {
    return policy->params + puf_net_params(&policy->net) - policy->net.action_numbers;
}

int32_t puf_web_moved_look(puf_web_moved *moved, const puf_web_policy *policy, const puf_segment *s, int32_t n, int after) {
    const puf_net *net = &policy->net;
    const int64_t obs = (int64_t)n * net->obs_size, logits = (int64_t)n * puf_net_logits(net), carry = (int64_t)n * puf_net_carry(net);
    const int64_t choices = (int64_t)n * (puf_net_logits(net) - net->action_numbers);
    if (!after) { puf_copy(moved->log_std, log_std_of(policy), 4 * (size_t)net->action_numbers); }
    if (carry == 0) { return puf_policy_forward(policy->policy, NULL, s->obs, NULL, n * s->steps, moved->heads[after], NULL); }
    puf_copy(moved->carry[1], s->carry, 4 * (size_t)carry);
    for (int32_t t = 0; t < s->steps; t++) {
        const float *seen = s->obs + t * obs;
        const uint8_t *mask = s->action_mask != NULL ? s->action_mask + t * choices : NULL;
        puf_copy(moved->carry[0], moved->carry[1], 4 * (size_t)carry);
        int32_t status = puf_policy_forward(policy->policy, NULL, seen, moved->carry[0], n, moved->heads[after] + t * logits, NULL);
        if (status == PUF_OK) { /* the only call that says what a policy hands on */
            status = puf_policy_act(policy->policy, NULL, seen, mask, n, 0, 0, 0, 1, moved->carry[1], moved->action, moved->logprob,
                                    moved->value);
        }
        if (status != PUF_OK) { return status; }
        const size_t row = (size_t)t * (size_t)n;
        puf_web_hand_on((size_t)n, (size_t)puf_net_carry(net), s->terminated + row, s->truncated + row, s->valid + row,
                        moved->carry[0], moved->carry[1]);
    }
    return PUF_OK;
}

/* Logarithm of the sum of exponentials of the logits that are allowed, over the largest of them. */
static float log_sum(const float *logits, const uint8_t *mask, int32_t n, float *largest) {
    float sum = 0.0f;
    *largest = -3.0e38f;
    for (int32_t j = 0; j < n; j++) { *largest = mask == NULL || mask[j] ? puf_max(*largest, logits[j]) : *largest; }
    for (int32_t j = 0; j < n; j++) { sum += mask == NULL || mask[j] ? puf_exp(logits[j] - *largest) : 0.0f; }
    return puf_log(sum);
}

/* sum_j p_j (log p_j - log q_j) of a choice. */
static double of_choice(const float *old, const float *now, const uint8_t *mask, int32_t n) {
    float old_top, now_top;
    const float old_sum = log_sum(old, mask, n, &old_top), now_sum = log_sum(now, mask, n, &now_top);
    double total = 0.0;
    for (int32_t j = 0; j < n; j++) {
        if (mask != NULL && !mask[j]) { continue; }
        const float p = old[j] - old_top - old_sum, q = now[j] - now_top - now_sum;
        total += (double)(puf_exp(p) * (p - q));
    }
    return total;
}

/* log s_q - log s_p + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2 of a number. */
static double of_number(float old, float now, float was, float is) {
    const float gap = (old - now) * puf_exp(-is);
    return (double)(is - was + 0.5f * (puf_exp(2.0f * (was - is)) + gap * gap) - 0.5f);
}

double puf_web_divergence(const puf_web_moved *moved, const puf_web_policy *policy, const puf_segment *s, size_t rows) {
    const puf_net *net = &policy->net;
    const int32_t choices = net->action_size - net->action_numbers;
    const size_t logits = (size_t)puf_net_logits(net), allowed = logits - (size_t)net->action_numbers;
    double total = 0.0, count = 0.0;
    for (size_t k = 0; k < rows; k++) {
        if (!s->valid[k]) { continue; }
        const float *old = moved->heads[0] + k * logits, *now = moved->heads[1] + k * logits;
        const uint8_t *mask = s->action_mask != NULL ? s->action_mask + k * allowed : NULL;
        for (int32_t c = 0; c < choices; c++) {
            total += of_choice(old, now, mask, net->action_n[c]);
            old += net->action_n[c];
            now += net->action_n[c];
            mask = mask != NULL ? mask + net->action_n[c] : NULL;
        }
        for (int32_t a = 0; a < net->action_numbers; a++) {
            total += of_number(old[a], now[a], moved->log_std[a], log_std_of(policy)[a]);
        }
        count += 1.0;
    }
    return total / count;
}
