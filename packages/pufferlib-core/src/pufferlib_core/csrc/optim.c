#include "puffer/optim.h"

#include "kernels.h"
#include "puffer/math.h"

static double power(double base, int64_t exponent) {
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1) { result *= base; }
        base *= base;
    }
    return result;
}

puf_adam_step puf_adam_plan(const puf_adam_config *c, int64_t step, float norm) {
    return (puf_adam_step){
        .rate = c->rate,
        .beta1 = c->beta1,
        .beta2 = c->beta2,
        .epsilon = c->epsilon,
        .weight_decay = c->weight_decay,
        .correction1 = (float)(1.0 / (1.0 - power((double)c->beta1, step))),
        .correction2 = (float)(1.0 / (1.0 - power((double)c->beta2, step))),
        .grad_scale = c->max_norm > 0.0f && norm > c->max_norm ? c->max_norm / norm : 1.0f,
    };
}

int puf_adam(int isa, const puf_adam_config *c, int64_t step, float *param, const float *grad, float *m, float *v, int32_t n,
             float *norm) {
    const puf_kernels *kernels = puf_kernels_get(isa);
    if (kernels == NULL || c == NULL || param == NULL || grad == NULL || m == NULL || v == NULL || n < 1 || step < 1) {
        return PUF_EINVAL;
    }
    const float length = puf_sqrt(kernels->sum_squares(grad, n));
    if (norm != NULL) { *norm = length; }
    if (!puf_finite(length)) { return PUF_ENONFINITE; }
    const puf_adam_step s = puf_adam_plan(c, step, length);
    kernels->adam(&s, param, grad, m, v, n);
    return PUF_OK;
}

float puf_schedule(int kind, float start, float end, float fraction) {
    const float f = puf_clamp(fraction, 0.0f, 1.0f);
    if (kind == PUF_LINEAR) { return start + (end - start) * f; }
    if (kind == PUF_COSINE) {
        float s, c;
        puf_sincos(3.14159265358979324f * f, &s, &c);
        return end + (start - end) * (0.5f + 0.5f * c);
    }
    return start;
}
