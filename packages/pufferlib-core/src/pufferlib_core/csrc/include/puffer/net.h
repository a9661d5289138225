/* Policies: one head for the actions and one for the value, over one tower or two.
 *
 * A tower reads an observation through encoders (convolutions for images, dense layers or nothing for vectors; without
 * encoders it reads all numbers as they are), joins what they give, passes it through dense layers and, if the policy has a
 * memory, through a recurrent core. Shared: one tower, the trunk, feeds both heads. Separate: an actor and a critic alike.
 * Parameters are one flat float32 vector, tensors in this order, weights row-major (out, in), convolutions OIHW, no padding:
 *   shared    <tower trunk> policy.weight policy.bias value.weight value.bias [log_std]
 *   separate  <tower actor> policy.weight policy.bias <tower critic> value.weight value.bias [log_std]
 *   tower T   T.encoder.e.k.weight T.encoder.e.k.bias ... T.k.weight T.k.bias ... [T.core.input T.core.state T.core.bias]
 * log_std (A) exists where actions have A real numbers and does not depend on the observation.
 *
 * Images are (height, width, channels); convolutions have no padding; what one gives is read on in the same order. All
 * layers but the heads are followed by the activation. Cores, over input x, with one bias, h and c zero where an episode
 * begins (Hochreiter and Schmidhuber 1997; Cho et al. 2014, arXiv 1406.1078, with the reset gate after the product):
 *   LSTM  i f g o = x Wi' + h Ws' + b in blocks of H rows;  c = s(f) c + s(i) tanh(g);  h = s(o) tanh(c)
 *   GRU   r z n: r, z = s(x Wi' + h Ws' + b);  n = tanh(x Wi' + b + r (h Ws'));  h = (1 - z) n + z h
 * where s is the logistic function. What a core hands on from step to step, a row's `carry`, is h and then (LSTM) c, for
 * each tower in turn.
 *
 * A `puf_policy` holds what a forward or backward pass needs: weights packed for an ISA and scratch for each task. The result
 * for a row does not depend on the batch size, on its position in the batch or on threads.
 */
#ifndef PUFFER_NET_H
#define PUFFER_NET_H

#include "puffer/dist.h"
#include "puffer/exec.h"
#include "puffer/space.h"

/* <cdef> */
enum {
    PUF_MAX_LAYERS = 8,
    PUF_MAX_WIDTH = 4096,
    PUF_MAX_ENCODERS = 8,
    PUF_MAX_ENCODER_LAYERS = 4
};
typedef enum { PUF_TANH = 0, PUF_RELU = 1 } puf_activation;
typedef enum { PUF_NO_CORE = 0, PUF_LSTM = 1, PUF_GRU = 2 } puf_core;

/* What reads one part of an observation. Parts follow each other and cover it. */
typedef struct {
    int32_t size;                    /* numbers of the part */
    int32_t height, width, channels; /* of an image, whose layers are convolutions; 0: a vector, whose layers are dense */
    int32_t layers;                  /* 0 .. PUF_MAX_ENCODER_LAYERS; 0: handed on as it is */
    int32_t out[4];                  /* numbers or filters of each layer */
    int32_t kernel[4], stride[4];    /* of convolutions, both ways */
} puf_encoder;

typedef struct {
    int32_t obs_size;
    int32_t obs_number; /* puf_number of observations: PUF_F32, or PUF_U8, whose numbers are read as they are */
    int32_t encoders; /* 0 .. PUF_MAX_ENCODERS */
    puf_encoder encoder[8];
    int32_t layers; /* hidden layers, 1 .. PUF_MAX_LAYERS */
    int32_t width[8];
    int32_t activation; /* puf_activation */
    int32_t core;       /* puf_core */
    int32_t core_size;  /* H; 0 without a core */
    int32_t separate;   /* 0: shared trunk, 1: actor and critic */
    int32_t action_size;    /* components, K choices and A real numbers */
    int32_t action_numbers; /* A: the last components are real numbers */
    int32_t action_n[32];   /* choices of component k < K */
    int32_t action_squash;  /* 1: the numbers are squashed (puf_squash) on their way to the environment, which the caller does */
} puf_net;

enum { PUF_OWN_LAYERS = -1, PUF_OWN_CORE = -2 }; /* puf_tensor.encoder */
/* One tensor of the flat vector. */
typedef struct {
    int64_t offset; /* of its first number */
    int32_t rows;
    int32_t cols;    /* of a convolution: channels * kernel * kernel */
    int32_t part;    /* 0 trunk, 1 actor, 2 critic, 3 policy head, 4 value head, 5 log_std */
    int32_t encoder; /* of a trunk, actor or critic; PUF_OWN_LAYERS or PUF_OWN_CORE */
    int32_t layer;   /* of an encoder, trunk, actor or critic; of a core: 0 input, 1 state */
    int32_t bias;    /* 1 for a bias */
    int32_t hidden;  /* 1 for a matrix of a trunk, actor or critic: what Muon serves (muon.h) */
} puf_tensor;

typedef struct puf_policy puf_policy;

/* PUF_OK, or PUF_EINVAL if sizes are not legal. */
int puf_net_check(const puf_net *net);
/* Numbers in the action head: the sum of action_n, and A. */
int32_t puf_net_logits(const puf_net *net);
int64_t puf_net_params(const puf_net *net);
/* Numbers that an encoder gives, and those of all of them: what the first dense layer reads. */
int32_t puf_encoder_size(const puf_encoder *encoder);
int32_t puf_net_encoded(const puf_net *net);
/* Numbers of a row's carry; 0 without a core. */
int32_t puf_net_carry(const puf_net *net);
int32_t puf_net_tensors(const puf_net *net);
int puf_net_tensor(const puf_net *net, int32_t index, puf_tensor *out);
/* Initial parameters, bit-equal on every target: orthogonal weights (gain sqrt 2 in encoders and hidden
 * layers, 1 in cores and the value head, 0.01 in the action head), biases 0 but 1 in the forget gates of an LSTM
 * (Jozefowicz et al. 2015), log_std as given. `scratch` holds puf_net_init_scratch(net) floats. */
int64_t puf_net_init_scratch(const puf_net *net);
int puf_net_init(const puf_net *net, uint64_t seed, float log_std, float *params, float *scratch);

/* `tasks`: how many slices may be on their way at once: at least the width of the executors it is used with. */
size_t puf_policy_bytes(const puf_net *net, int isa, int32_t tasks);
int puf_policy_init(puf_policy **policy, void *mem, size_t bytes, const puf_net *net, int isa, int32_t tasks);
/* Takes over parameters, and the observation normaliser when mean is not NULL: (obs - mean) * scale, clipped to
 * [-clip, clip]; mean and scale are (obs_size). Copies everything. */
int puf_policy_load(puf_policy *policy, const float *params, const float *mean, const float *scale, float clip);
/* obs (n, obs_size), of obs_number like all observations below -> logits (n, L), value (n); either may be NULL. carry
 * (n, puf_net_carry): what a policy with a memory has handed on, only read; NULL without one, and only then. */
int puf_policy_forward(puf_policy *policy, const puf_exec *exec, const void *obs, const float *carry, int32_t n, float *logits,
                       float *value);
/* Samples (or with greedy != 0 takes the most likely) actions. Row i is environment first_env + i; its noise is keyed by
 * (seed, environment, step[i]), or by one step for all rows if steps is NULL. action_mask: (n, L - A) bytes, non-zero =
 * allowed, or NULL; a row with nothing allowed gives PUF_EMASK. action: (n, K + A) words, int32 and then float32, as they were
 * sampled: squashed by none. carry is
 * overwritten with what the policy hands on next. */
int puf_policy_act(puf_policy *policy, const puf_exec *exec, const void *obs, const uint8_t *action_mask, int32_t n,
                   uint64_t seed, uint32_t first_env, uint64_t step, int greedy, float *carry, void *action, float *logprob,
                   float *value);
/* </cdef> */

/* --- what an ISA supplies (internal) --- */

/* Weights of a core that meet one input: rows of the gates [first, first + count), of `size` rows each. */
typedef struct {
    int32_t in, in_pad;   /* numbers read */
    int32_t count, to;    /* gates, and the block of the gates' plane where their sums go */
    int32_t columns;      /* count * size_pad */
    int64_t w;            /* in the flat parameters */
    int64_t wt, wc;       /* packed, in panels: (in, columns), and for the backward pass (columns, in_pad) */
} puf_product;

/* A recurrent core. Products: 0 the inputs; 1 the state, of all gates or (GRU) of r and z; 2 (GRU) the state, of n. */
typedef struct {
    int32_t size, size_pad;
    int32_t gates, products;
    puf_product product[3];
    int64_t b, pb;         /* bias: in the flat parameters, packed (gates * size_pad) */
    int64_t before, after; /* scratch: h, and for an LSTM c, of (PUF_SLICE, size_pad) each; after begins with the output */
    int64_t plane;         /* scratch: gates, then their deltas, four blocks of size_pad a row; a GRU's last is h Ws' of n */
    int64_t plane_row;     /* floats from row to row: a line of the cache more, or rows would share few sets of it */
    int64_t delta;         /* of what is handed on, like before; in a block of its own, see puf_layout.carried */
    int32_t first;         /* number of a row's carry where this core's begins */
} puf_recurrent;

/* A layer of an encoder. At each place of an image (height x width of them) it reads a patch, `kernel` runs of
 * kernel * read numbers, and gives `out` numbers, padded to `pad`. A dense layer has one place and one run. Offsets and steps
 * are in floats. */
typedef struct {
    int32_t height, width;
    int32_t out, pad;
    int32_t kernel, channels, read;                    /* read: the channels, as what is read is padded */
    int64_t column_step, row_step, image_step;         /* from the patch of a place to those of the next ones */
    int64_t run_step;                                  /* from run to run */
    int64_t w, b;                                      /* in the flat parameters */
    int64_t wt, pb;                                    /* packed: panels of (kernel, kernel, read) rows, and (pad) */
    int64_t wc;                                        /* packed: panels of (out) rows by run, backward; not layer 0 */
    int64_t act;                                       /* scratch: activations (PUF_SLICE, height, width, pad) */
} puf_layer;

typedef struct {
    int32_t layers, size;
    int32_t group;                                     /* images that pass through the layers together */
    int64_t first, joined;                             /* place in a row of the inputs, and of what all encoders give */
    puf_layer layer[PUF_MAX_ENCODER_LAYERS];
} puf_reader;

/* One tower: encoders, hidden layers, its core and the head rows it feeds. Offsets are in floats. */
typedef struct {
    puf_reader reader[PUF_MAX_ENCODERS];
    int64_t x;                                         /* scratch: what the first hidden layer reads (PUF_SLICE, in[0]) */
    int64_t patch_delta[2];                            /* scratch: deltas of a group of images, two buffers */
    int32_t layers;
    int32_t in[PUF_MAX_LAYERS], out[PUF_MAX_LAYERS];   /* sizes */
    int32_t out_pad[PUF_MAX_LAYERS];                   /* rounded up to whole vectors */
    int32_t in_pad[PUF_MAX_LAYERS];
    int64_t w[PUF_MAX_LAYERS], b[PUF_MAX_LAYERS];      /* in the flat parameters */
    int64_t wt[PUF_MAX_LAYERS];                        /* packed: (in, out_pad), for the forward pass and gradients */
    int64_t wc[PUF_MAX_LAYERS];                        /* packed: (out, in_pad), for the backward pass; not for layer 0 without encoders */
    int64_t pb[PUF_MAX_LAYERS];                        /* packed: (out_pad) */
    int64_t act[PUF_MAX_LAYERS];                       /* scratch: activations (PUF_SLICE, out_pad) */
    int64_t delta[2];                                  /* two buffers (PUF_SLICE, widest out_pad): scratch, or carried with a core */
    int32_t head_first, head_rows;                     /* rows of the plane block this tower writes */
    puf_recurrent core;                                /* size 0: none */
    int32_t read, read_pad;                            /* numbers that a head reads */
    int64_t output;                                    /* scratch: (PUF_SLICE, read_pad) what it reads */
    int64_t head;                                      /* packed: (head_rows, read_pad) */
    int64_t head_bias;                                 /* packed: (head_rows) */
} puf_tower;

typedef struct {
    puf_net net;
    puf_dist dist;
    int32_t vector;    /* numbers to which rows are padded */
    int32_t towers;
    puf_tower tower[2];
    int32_t logits;          /* of dist */
    int64_t head_w[2], head_b[2]; /* in the flat parameters: policy, value */
    int64_t log_std;
    int64_t params;
    int64_t packed;      /* floats of packed weights; gradients use the same layout without wc */
    int64_t grads;       /* floats of packed gradients (a prefix of the packed layout, then log_std) */
    int64_t grad_log_std;
    int64_t in, heads, row; /* scratch: inputs (PUF_SLICE, obs_size), head planes (logits + 1, PUF_SLICE), per-row numbers */
    int64_t memory;      /* scratch: what becomes of each row's carry (PUF_SLICE) bytes, puf_memory */
    int64_t carried;     /* floats of all steps' deltas, what is handed on and two buffers of each tower; 0 without a core */
    int64_t scratch;     /* floats for each task */
} puf_layout;

enum { PUF_PANEL = 64 /* columns of packed weights of a core that lie together */ };

/* What becomes of a carry after a row. */
typedef enum { PUF_HANDED_ON = 0, PUF_KEPT, PUF_FORGOTTEN } puf_memory;

struct puf_policy {
    puf_layout layout;
    const struct puf_net_kernels *kernels;
    const puf_dist_kernels *dist_kernels;
    int isa;
    int32_t tasks;
    int normalize;
    float clip;
    float *packed;
    float *log_std;      /* (A) */
    float *mean, *scale; /* (obs_size) */
    float *scratch;      /* tasks * layout.scratch */
};

/* Rows on their way through the loss; everything is (PUF_SLICE) or plane-major (components, PUF_SLICE). */
enum {
    PUF_ROW_LOGPROB = 0, /* old log-probability in, new one out of `act` */
    PUF_ROW_ADVANTAGE,
    PUF_ROW_TARGET,
    PUF_ROW_VALUE,
    PUF_ROW_WEIGHT, /* 0 for rows that are not valid, else 1 / valid rows of the minibatch */
    PUF_ROW_COUNT
};

typedef struct {
    float clip, value_clip, dual_clip, value_coef, entropy_coef, kl_coef;
} puf_loss_config;

/* Sums over a slice, weighted by PUF_ROW_WEIGHT. */
enum { PUF_SUM_POLICY = 0, PUF_SUM_VALUE, PUF_SUM_ENTROPY, PUF_SUM_KL, PUF_SUM_CLIPPED, PUF_SUM_COUNT };

typedef struct puf_net_kernels {
    int32_t vector;
    void (*pack)(const puf_layout *l, const float *params, float *packed);
    void (*unpack)(const puf_layout *l, const float *packed_grads, float *grads);
    /* The inputs of the first `rows` rows are in scratch + l->in (and what cores remember in their `before`), results in
     * scratch + l->heads; what other rows hold has no meaning. */
    void (*forward)(const puf_layout *l, const float *packed, float *scratch, int32_t rows);
    /* Deltas are in scratch + l->heads, of as many rows as forward got; adds to the packed gradients. With encoders rows must be
     * PUF_SLICE.
     * carried (l->carried): deltas of what the next row starts with, overwritten with those of what this one started with;
     * NULL without a core. */
    void (*backward)(const puf_layout *l, const float *packed, float *scratch, float *carried, float *grads,
                     int32_t rows);
    /* With a core: what backward leaves of the gradients, for `steps` scratches that lie one after the other. */
    void (*core_gradients)(const puf_layout *l, const float *scratch, int32_t rows, int32_t steps, float *grads);
    /* Heads to deltas, of `rows` rows rounded up to whole vectors: those past `rows` must be finite and weigh 0. action: planes
     * (components, PUF_SLICE) of words; adds to sums and grads[grad_log_std]. */
    void (*loss)(const puf_layout *l, const puf_loss_config *c, const float *log_std, float *scratch, const void *action,
                 const uint8_t *action_mask, float *sums, float *grads, int32_t rows);
    void (*add)(float *into, const float *from, int64_t n);
} puf_net_kernels;

void puf_layout_make(puf_layout *l, const puf_net *net, int32_t vector);
/* Row `row` of observations. */
const void *puf_obs_row(const puf_net *net, const void *obs, int64_t row);
/* Copies rows to (rows, obs_size) float32, normalised. */
void puf_policy_rows(const puf_policy *policy, const void *obs, int32_t rows, float *in);
/* The same into the input block of a scratch. */
void puf_policy_input(const puf_policy *policy, const void *obs, int32_t rows, float *scratch);
float *puf_policy_scratch(const puf_policy *policy, int32_t task);
/* Forward, sampling and output of up to PUF_SLICE rows in the scratch of a thread; action_mask (rows, logits - A) or NULL.
 * carry (rows, puf_net_carry) is read; what the policy hands on stays in the scratch. */
void puf_policy_act_slice(const puf_policy *policy, int32_t task, const void *obs, const uint8_t *action_mask, int32_t rows,
                          uint64_t seed, uint32_t first_env, uint64_t step, int greedy, const float *carry, void *action,
                          float *logprob, float *value);

/* Sizes of a core, and where its tensors lie in the flat parameters. */
void puf_core_shapes(const puf_layout *l, puf_tower *tower, int32_t part);
/* Row r of a scratch starts with this carry; without one (NULL) with zeros. */
void puf_carry_begin(const puf_layout *l, float *scratch, int32_t r, const float *carry);
/* The rows of a scratch start with those of carry (rows, puf_net_carry). */
void puf_carry_load(const puf_layout *l, const float *carry, int32_t rows, float *scratch);
/* What row r of a scratch hands on. */
void puf_carry_end(const puf_layout *l, const float *scratch, int32_t r, float *carry);
/* The first `rows` rows of the next step's scratch start with what becomes of those of this one, by its l->memory. */
void puf_carry_next(const puf_layout *l, const float *scratch, int32_t rows, float *next);

#endif
