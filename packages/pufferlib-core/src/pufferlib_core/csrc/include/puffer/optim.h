/* Optimisers and schedules. float32, elementwise, one order of operations: bit-equal on every ISA. */
#ifndef PUFFER_OPTIM_H
#define PUFFER_OPTIM_H

#include "puffer/port.h"
#include "puffer/status.h"

/* <cdef> */
typedef struct {
    float rate;         /* learning rate */
    float beta1, beta2; /* decay of the first and second moment */
    float epsilon;      /* added to the root of the second moment */
    float weight_decay; /* decoupled (Loshchilov and Hutter 2019): param *= 1 - rate * weight_decay */
    float max_norm;     /* the gradient is scaled down to this global norm; 0: never */
} puf_adam_config;

/* One step of Adam (Kingma and Ba 2015) over n numbers. `step` counts from 1. Writes the norm before clipping to `norm`.
 * PUF_ENONFINITE, and nothing changed, if the gradient is not finite. */
int puf_adam(int isa, const puf_adam_config *config, int64_t step, float *param, const float *grad, float *m, float *v,
             int32_t n, float *norm);

typedef enum { PUF_CONSTANT = 0, PUF_LINEAR = 1, PUF_COSINE = 2 } puf_schedule_kind;
/* From `start` at fraction 0 to `end` at fraction 1 of a run; outside, the nearer end. */
float puf_schedule(int kind, float start, float end, float fraction);
/* </cdef> */

typedef struct {
    float rate, beta1, beta2, epsilon, weight_decay;
    float correction1, correction2; /* 1 / (1 - beta^step) */
    float grad_scale;
} puf_adam_step;

/* Of a step, counted from 1, on a gradient of this norm. */
puf_adam_step puf_adam_plan(const puf_adam_config *config, int64_t step, float norm);

#endif
