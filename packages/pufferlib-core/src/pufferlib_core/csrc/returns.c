#include "puffer/returns.h"

#include "kernels.h"
#include "puffer/cpu.h"

enum { COLUMNS = 4096 }; /* columns of one task: whole pages of the float planes, whole cache lines of the flags */

typedef struct {
    puf_returns_args args;
    void (*kernel)(const puf_returns_args *, int32_t, int32_t);
} returns_job;

static void columns_task(void *context, int32_t index, int32_t thread) {
    (void)thread;
    const returns_job *job = (const returns_job *)context;
    const int32_t first = index * COLUMNS, rest = job->args.n - first;
    job->kernel(&job->args, first, rest < COLUMNS ? rest : COLUMNS);
}

static int start(const puf_exec *exec, const returns_job *job) {
    const puf_returns_args *a = &job->args;
    if (a->adv == NULL || a->reward == NULL || a->next_value == NULL || a->terminated == NULL || a->truncated == NULL ||
        a->t_len < 1 || a->n < 1) {
        return PUF_EINVAL;
    }
    puf_exec_run(exec, columns_task, (void *)(uintptr_t)job, (a->n + COLUMNS - 1) / COLUMNS);
    return PUF_OK;
}

/* Kernels for n columns. Eight fill a vector of AVX2; a wider one, half of it masked, crosses cache lines, and its loads meet
 * the stores of the row before: a third more time for the same bits. */
static const puf_kernels *kernels_for(int isa, int32_t n) {
    const puf_kernels *kernels = puf_kernels_get(isa), *narrow = puf_kernels_get(PUF_ISA_AVX2);
    return isa == PUF_ISA_AVX512 && n == 8 && kernels != NULL && narrow != NULL ? narrow : kernels;
}

int puf_gae(int isa, const puf_exec *exec, float *adv, const float *reward, const float *value, const float *next_value,
            const uint8_t *terminated, const uint8_t *truncated, int32_t t_len, int32_t n, float gamma, float lam) {
    const puf_kernels *kernels = kernels_for(isa, n);
    if (kernels == NULL || value == NULL) { return PUF_EINVAL; }
    const returns_job job = {{.adv = adv, .reward = reward, .value = value, .next_value = next_value,
                              .terminated = terminated, .truncated = truncated, .t_len = t_len, .n = n, .gamma = gamma,
                              .lam = lam},
                             kernels->gae};
    return start(exec, &job);
}

int puf_vtrace(int isa, const puf_exec *exec, float *target, float *adv, const float *behaviour_logprob,
               const float *target_logprob, const float *reward, const float *value, const float *next_value,
               const uint8_t *terminated, const uint8_t *truncated, int32_t t_len, int32_t n, float gamma, float lam,
               float rho_clip, float c_clip) {
    const puf_kernels *kernels = puf_kernels_get(isa);
    if (kernels == NULL || value == NULL || target == NULL || behaviour_logprob == NULL || target_logprob == NULL) {
        return PUF_EINVAL;
    }
    const returns_job job = {{.adv = adv, .target = target, .reward = reward, .value = value, .next_value = next_value,
                              .behaviour_logprob = behaviour_logprob, .target_logprob = target_logprob,
                              .terminated = terminated, .truncated = truncated, .t_len = t_len, .n = n, .gamma = gamma,
                              .lam = lam, .rho_clip = rho_clip, .c_clip = c_clip},
                             kernels->vtrace};
    return start(exec, &job);
}

int puf_lambda_returns(int isa, const puf_exec *exec, float *ret, const float *reward, const float *next_value,
                       const uint8_t *terminated, const uint8_t *truncated, int32_t t_len, int32_t n, float gamma,
                       float lam) {
    const puf_kernels *kernels = puf_kernels_get(isa);
    if (kernels == NULL) { return PUF_EINVAL; }
    const returns_job job = {{.adv = ret, .reward = reward, .next_value = next_value, .terminated = terminated,
                              .truncated = truncated, .t_len = t_len, .n = n, .gamma = gamma, .lam = lam},
                             kernels->lambda};
    return start(exec, &job);
}

int puf_discounted(int isa, const puf_exec *exec, float *ret, const float *reward, const float *next_value,
                   const uint8_t *terminated, const uint8_t *truncated, int32_t t_len, int32_t n, float gamma) {
    return puf_lambda_returns(isa, exec, ret, reward, next_value, terminated, truncated, t_len, n, gamma, 1.0f);
}
