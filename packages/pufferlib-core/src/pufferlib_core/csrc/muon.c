#include "puffer/muon.h"

#include "kernels.h"
#include "puffer/math.h"

enum {
    STEPS = 5,          /* of Newton and Schulz */
    PAD = 16,           /* numbers to which rows are padded: whole vectors of every ISA, whole cache lines */
    TASK_SUMS = 1 << 20 /* products of numbers in a task, about: fewer cost less than waking a thread */
};

static const float LINEAR = 3.4445f, CUBIC = -4.7750f, QUINTIC = 2.0315f;

/* c (rows, pad) = a b, over `depth` numbers. */
typedef struct {
    const puf_kernels *kernels;
    const float *a, *b;
    float *c;
    int64_t row_stride, k_stride; /* of a */
    int32_t rows, pad, depth, block;
} product_job;

static void product_task(void *context, int32_t index, int32_t thread) {
    const product_job *job = (const product_job *)context;
    const int32_t first = index * job->block, rest = job->rows - first;
    (void)thread;
    job->kernels->product(rest < job->block ? rest : job->block, job->pad, job->depth, job->a + first * job->row_stride,
                          job->row_stride, job->k_stride, job->b, job->pad, NULL, 0, job->c + (int64_t)first * job->pad,
                          job->pad);
}

/* Each row of the result is summed in an order of its own: how rows are cut into tasks changes no bit. */
static void product(const puf_exec *exec, product_job job) {
    const int64_t rows = TASK_SUMS / ((int64_t)job.depth * job.pad) / PAD * PAD;
    job.block = rows < PAD ? PAD : (int32_t)(rows < job.rows ? rows : job.rows);
    puf_exec_run(exec, product_task, &job, (job.rows + job.block - 1) / job.block);
}

static int32_t padded(int32_t side) { return (side + (PAD - 1)) / PAD * PAD; }

int64_t puf_muon_scratch(int32_t rows, int32_t cols) {
    if (rows < 1 || cols < 1 || rows > 0x7FFFFFFF - PAD || cols > 0x7FFFFFFF - PAD) { return 0; }
    const int64_t tall = rows > cols ? rows : cols, pad = padded(rows > cols ? cols : rows);
    return tall * pad > 0x7FFFFFFF ? 0 : 2 * (tall + pad) * pad;
}

/* Takes over the gradient, and writes the direction of the step, stood upright: y (tall, pad). */
static void upright(const puf_muon_config *c, const float *grad, float *momentum, int32_t rows, int32_t cols, int32_t pad,
                    float *y) {
    const float keep = c->momentum, take = 1.0f - c->momentum;
    const int64_t row_step = rows > cols ? pad : 1, col_step = rows > cols ? 1 : pad;
    puf_zero(y, (size_t)(rows > cols ? rows : cols) * (size_t)pad * 4);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            const float g = grad[i * cols + j] * c->grad_scale;
            const float m = keep * momentum[i * cols + j] + take * g;
            momentum[i * cols + j] = m;
            y[i * row_step + j * col_step] = keep * m + take * g;
        }
    }
}

/* mix (wide, pad) = LINEAR * 1 + CUBIC * gram + QUINTIC * mix. */
static void polynomial(const float *PUF_RESTRICT gram, float *PUF_RESTRICT mix, int32_t wide, int32_t pad) {
    for (int64_t i = 0; i < (int64_t)wide * pad; i++) { mix[i] = CUBIC * gram[i] + QUINTIC * mix[i]; }
    for (int64_t i = 0; i < wide; i++) { mix[i * (pad + 1)] += LINEAR; }
}

int puf_muon(int isa, const puf_exec *exec, const puf_muon_config *c, float *param, const float *grad, float *momentum,
             int32_t rows, int32_t cols, float *scratch) {
    const puf_kernels *kernels = puf_kernels_get(isa);
    if (kernels == NULL || c == NULL || param == NULL || grad == NULL || momentum == NULL || scratch == NULL ||
        ((uintptr_t)scratch & (PUF_ALIGN - 1)) != 0 || puf_muon_scratch(rows, cols) == 0) {
        return PUF_EINVAL;
    }
    const int32_t tall = rows > cols ? rows : cols, wide = rows > cols ? cols : rows, pad = padded(wide);
    float *y = scratch, *next = y + (int64_t)tall * pad, *gram = next + (int64_t)tall * pad, *mix = gram + (int64_t)pad * pad;
    upright(c, grad, momentum, rows, cols, pad, y);
    const float scale = 1.0f / (puf_sqrt(kernels->sum_squares(y, tall * pad)) + 1e-7f);
    for (int64_t i = 0; i < (int64_t)tall * pad; i++) { y[i] *= scale; }
    for (int step = 0; step < STEPS; step++) { /* y <- y (LINEAR + CUBIC y'y + QUINTIC (y'y)^2); y'y is symmetric to the bit */
        product(exec, (product_job){kernels, y, y, gram, 1, pad, wide, pad, tall, 0});
        product(exec, (product_job){kernels, gram, gram, mix, pad, 1, wide, pad, wide, 0});
        polynomial(gram, mix, wide, pad);
        product(exec, (product_job){kernels, y, mix, next, pad, 1, tall, pad, wide, 0});
        float *was = y;
        y = next;
        next = was;
    }
    const float keep = 1.0f - c->rate * c->weight_decay, move = c->rate * (0.2f * puf_sqrt((float)tall));
    const int64_t row_step = rows > cols ? pad : 1, col_step = rows > cols ? 1 : pad;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            param[i * cols + j] = param[i * cols + j] * keep - move * y[i * row_step + j * col_step];
        }
    }
    return PUF_OK;
}

int64_t puf_muon_served(const puf_net *net) {
    int64_t numbers = 0;
    for (int32_t i = 0; i < puf_net_tensors(net); i++) {
        puf_tensor t;
        if (puf_net_tensor(net, i, &t) == PUF_OK && t.hidden) { numbers += (int64_t)t.rows * t.cols; }
    }
    return numbers;
}

int64_t puf_muon_net_scratch(const puf_net *net) {
    int64_t most = 0;
    for (int32_t i = 0; i < puf_net_tensors(net); i++) {
        puf_tensor t;
        if (puf_net_tensor(net, i, &t) != PUF_OK || !t.hidden) { continue; }
        const int64_t need = puf_muon_scratch(t.rows, t.cols);
        most = need > most ? need : most;
    }
    return most;
}

int puf_muon_step(int isa, const puf_exec *exec, const puf_net *net, const puf_adam_config *adam, float momentum, int64_t step,
                  float *params, const float *grads, float *m, float *v, float *scratch, float *norm) {
    const puf_kernels *kernels = puf_kernels_get(isa);
    if (kernels == NULL || net == NULL || adam == NULL || params == NULL || grads == NULL || m == NULL || v == NULL ||
        scratch == NULL || step < 1) {
        return PUF_EINVAL;
    }
    const float length = puf_sqrt(kernels->sum_squares(grads, (int32_t)puf_net_params(net)));
    if (norm != NULL) { *norm = length; }
    if (!puf_finite(length)) { return PUF_ENONFINITE; }
    const puf_adam_step plan = puf_adam_plan(adam, step, length);
    const puf_muon_config muon = {adam->rate, momentum, adam->weight_decay, plan.grad_scale};
    for (int32_t i = 0; i < puf_net_tensors(net); i++) {
        puf_tensor t = {0};
        int status = puf_net_tensor(net, i, &t);
        const int64_t at = t.offset;
        if (status == PUF_OK && t.hidden) {
            status = puf_muon(isa, exec, &muon, params + at, grads + at, m + at, t.rows, t.cols, scratch);
        } else if (status == PUF_OK) {
            kernels->adam(&plan, params + at, grads + at, m + at, v, t.rows * t.cols);
            v += t.rows * t.cols;
        }
        if (status != PUF_OK) { return status; }
    }
    return PUF_OK;
}
