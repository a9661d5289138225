/* Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", kellerjordan.github.io/posts/muon): a
 * matrix moves along its momentum with the singular values brought near 1, so that no few directions take all of a step.
 *
 * It serves the matrices of hidden layers, convolutions and cores (puf_tensor.hidden); heads, biases and log_std stay with Adam.
 * Products follow the rules of dense linear algebra: rounding differs between ISAs, never between numbers of threads.
 */
#ifndef PUFFER_MUON_H
#define PUFFER_MUON_H

#include "puffer/net.h"
#include "puffer/optim.h"

/* <cdef> */
typedef enum { PUF_ADAM = 0, PUF_MUON = 1 } puf_optimizer;

typedef struct {
    float rate;         /* learning rate; a step moves numbers by 0.2 of it in the root mean square, as Adam does */
    float momentum;     /* decay of the mean of gradients, which is taken a step ahead (Nesterov) */
    float weight_decay; /* decoupled: param *= 1 - rate * weight_decay */
    float grad_scale;   /* factor of the gradient */
} puf_muon_config;

/* Floats of scratch for a matrix of this form; 0 if it is not legal: a side below 1, or more than 2^31 - 1 numbers. */
int64_t puf_muon_scratch(int32_t rows, int32_t cols);
/* One step on param (rows, cols), with its mean of gradients `momentum` (rows, cols), both overwritten. grad (rows, cols) must be
 * finite. scratch: puf_muon_scratch floats, 64-byte aligned. Nothing may overlap. Runs on `exec`, NULL: here. */
int puf_muon(int isa, const puf_exec *exec, const puf_muon_config *config, float *param, const float *grad, float *momentum,
             int32_t rows, int32_t cols, float *scratch);

/* Numbers of a network's parameters that Muon serves, and the scratch of the largest matrix of them. */
int64_t puf_muon_served(const puf_net *net);
int64_t puf_muon_net_scratch(const puf_net *net);
/* A step of all parameters: Muon where it serves, else Adam, at the same rate, after clipping the gradient of all of them to
 * adam->max_norm. m (params) holds the mean of gradients of either; v the second moments of what Adam serves, one tensor after
 * the other (params - puf_muon_served). The rest is that of puf_adam; scratch: puf_muon_net_scratch. */
int puf_muon_step(int isa, const puf_exec *exec, const puf_net *net, const puf_adam_config *adam, float momentum, int64_t step,
                  float *params, const float *grads, float *m, float *v, float *scratch, float *norm);
/* </cdef> */

#endif
