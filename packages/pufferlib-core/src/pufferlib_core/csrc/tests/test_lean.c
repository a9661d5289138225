/* Rows through a policy with little memory (lean.h): the same as the kernels' to 1e-6, the same actions, in slices the same bits
 * and no more work than they may, and refusals. */
#include "check.h"

#include <math.h>
#include <string.h>

#include "puffer/puffer.h"

enum { STEPS = 50 };
static const float MEAN[2] = {0.5f, -0.25f}, SCALE[2] = {2.0f, 0.5f}, LOW[2] = {-1.0f, -0.01f}, HIGH[2] = {1.0f, 0.01f};

static puf_net dense_net(int32_t core, int32_t separate, int32_t activation) {
    puf_net net = {.obs_size = 7, .layers = 2, .width = {12, 9}, .activation = activation, .separate = separate,
                   .action_size = 3, .action_numbers = 1, .action_n = {3, 5}, .core = core, .core_size = core != 0 ? 11 : 0};
    return net;
}

/* An image of 6 x 5 x 2, a vector with layers of its own, and one without. */
static puf_net encoded_net(int32_t number) {
    puf_net net = dense_net(PUF_GRU, 1, PUF_RELU);
    net.obs_size = 60 + 4 + 3;
    net.obs_number = number;
    net.encoders = 3;
    net.encoder[0] = (puf_encoder){.size = 60, .height = 6, .width = 5, .channels = 2, .layers = 2, .out = {4, 3},
                                   .kernel = {3, 2}, .stride = {1, 2}};
    net.encoder[1] = (puf_encoder){.size = 4, .layers = 3, .out = {6, 5, 4}};
    net.encoder[2] = (puf_encoder){.size = 3};
    return net;
}

/* Calls of puf_lean_continue until the row is through. */
static int in_slices(const puf_lean *lean, int32_t budget, int32_t *at, float *carry, float *scratch, float *heads) {
    int calls = 1, status;
    while ((status = puf_lean_continue(lean, budget, at, carry, scratch, heads)) == PUF_LEAN_BUSY) { calls++; }
    CHECK(status == PUF_OK && *at == 0);
    return calls;
}

/* A row in slices gives the bits of the whole, even after another one that was dropped on its way. */
static void slices_equal(const puf_lean *lean, const void *row, const void *dropped, int32_t budget, float *carry, const float *heads,
                         const float *handed_on) {
    float *scratch = block((size_t)puf_lean_scratch(&lean->net) * 4), given[32], ours[9];
    const size_t size = (size_t)puf_lean_carry(&lean->net) * 4;
    int32_t at = 0;
    memcpy(given, carry, sizeof given);
    CHECK(puf_lean_begin(lean, dropped, scratch, &at) == PUF_OK);
    for (int32_t i = 0; i < budget % 7 * 20; i++) {
        if (puf_lean_continue(lean, 1, &at, size > 0 ? carry : NULL, scratch, ours) == PUF_OK) { break; }
        CHECK(memcmp(carry, given, size) == 0);
    }
    memcpy(carry, given, sizeof given);
    CHECK(puf_lean_begin(lean, row, scratch, &at) == PUF_OK);
    (void)in_slices(lean, budget, &at, size > 0 ? carry : NULL, scratch, ours);
    CHECK(memcmp(ours, heads, sizeof ours) == 0 && memcmp(carry, handed_on, size) == 0);
    free(scratch);
}

typedef struct {
    int32_t units, cost;
} layer_of_units;

/* How many calls a row takes, from its layers by hand: an exact account of what each call may do. */
static void calls_by_hand(puf_net net, const layer_of_units *layers, int32_t count) {
    float *flat = block((size_t)puf_net_params(&net) * 4), *scratch = block((size_t)puf_lean_scratch(&net) * 4);
    float obs[67], carry[32] = {0}, heads[9];
    for (int64_t i = 0; i < puf_net_params(&net); i++) { flat[i] = 0.1f * sinf((float)i); }
    for (int i = 0; i < 67; i++) { obs[i] = sinf((float)i); }
    const puf_lean lean = {.net = net, .params = flat};
    for (int32_t budget = 1; budget < 9000; budget += 1 + budget / 3) {
        int32_t calls = 1, left = budget, at = 0;
        for (int32_t k = 0; k < count; k++) {
            for (int32_t u = 0; u < layers[k].units; u++) {
                if (left < layers[k].cost && left < budget) { calls++, left = budget; }
                left -= layers[k].cost;
            }
        }
        CHECK(puf_lean_begin(&lean, obs, scratch, &at) == PUF_OK);
        CHECK(in_slices(&lean, budget, &at, carry, scratch, heads) == calls);
    }
    free(scratch), free(flat);
}

static void same_as_kernels(const puf_net *net, int normalised) {
    const int64_t params = puf_net_params(net);
    const int32_t carried = puf_net_carry(net), wide = net->obs_size;
    float *flat = block((size_t)params * 4), *work = block((size_t)puf_net_init_scratch(net) * 4);
    float *mean = block((size_t)wide * 4), *scale = block((size_t)wide * 4);
    CHECK(puf_net_init(net, 5, 0.0f, flat, work) == PUF_OK);
    for (int64_t i = 0; i < params; i++) { flat[i] += 0.1f * sinf((float)i); } /* biases and heads too */
    for (int32_t i = 0; i < wide; i++) { mean[i] = MEAN[i % 2], scale[i] = SCALE[i % 2]; }
    const size_t bytes = puf_policy_bytes(net, PUF_ISA_SERIAL, 1);
    puf_policy *policy;
    void *memory = block(bytes);
    CHECK(puf_policy_init(&policy, memory, bytes, net, PUF_ISA_SERIAL, 1) == PUF_OK);
    CHECK(puf_policy_load(policy, flat, normalised ? mean : NULL, scale, 3.0f) == PUF_OK);
    /* No more of the parameters than is told: what follows is NaN. */
    for (int64_t i = puf_lean_params(net); i < params; i++) { flat[i] = NAN; }
    const puf_lean lean = {.net = *net, .params = flat, .mean = normalised ? mean : NULL, .scale = scale, .clip = 3.0f,
                           .low = LOW, .high = HIGH};
    float *scratch = block((size_t)puf_lean_scratch(net) * 4), obs[67], theirs[64] = {0}, ours[32] = {0}, worst = 0.0f;
    uint8_t bytes_of[sizeof obs], past[sizeof obs]; /* past: the row before */
    for (int t = 0; t < STEPS; t++) {
        for (int32_t i = 0; i < wide; i++) {
            bytes_of[i] = (uint8_t)((i * 7 + t) % 5);
            obs[i] = 4.0f * sinf((float)(i + 3 * t));
        }
        const void *row = net->obs_number == PUF_U8 ? (const void *)bytes_of : (const void *)obs;
        float wanted[9], heads[9];
        int32_t chosen[3], choice[3];
        CHECK(puf_policy_forward(policy, NULL, row, carried ? theirs : NULL, 1, wanted, NULL) == PUF_OK);
        CHECK(puf_policy_act(policy, NULL, row, NULL, 1, 0, 0, 0, 1, carried ? theirs : NULL, chosen, NULL, NULL) == PUF_OK);
        float before[32];
        memcpy(before, ours, sizeof before);
        CHECK(puf_lean_heads(&lean, row, carried ? ours : NULL, scratch, heads) == PUF_OK);
        slices_equal(&lean, row, t > 0 ? past : row, 1 + t * t * 3, before, heads, ours);
        memcpy(past, row, sizeof past);
        CHECK(puf_lean_action(&lean, heads, choice) == PUF_OK);
        CHECK(memcmp(chosen, choice, 8) == 0);
        float number, kept = heads[8] < LOW[0] ? LOW[0] : (heads[8] > HIGH[0] ? HIGH[0] : heads[8]);
        memcpy(&number, &choice[2], 4);
        if (net->action_squash) { CHECK(puf_squash(LOW, HIGH, 0, 1, 1, memcpy(&kept, &heads[8], 4)) == PUF_OK); }
        CHECK(number == kept);
        for (int i = 0; i < 9; i++) { worst = fmaxf(worst, fabsf(heads[i] - wanted[i]) / fmaxf(1.0f, fabsf(wanted[i]))); }
        for (int32_t i = 0; i < puf_lean_carry(net); i++) { worst = fmaxf(worst, fabsf(ours[i] - theirs[i])); }
    }
    printf("core %d, separate %d, encoders %d: largest difference %.1e\n", net->core, net->separate, net->encoders, worst);
    CHECK(worst <= 1e-6f);
    free(memory), free(scratch), free(scale), free(mean), free(work), free(flat);
}

static void refusals(void) {
    const puf_net net = dense_net(PUF_LSTM, 0, PUF_TANH);
    float *flat = block((size_t)puf_net_params(&net) * 4), *scratch = block((size_t)puf_lean_scratch(&net) * 4);
    puf_lean lean = {.net = net, .params = flat};
    float obs[7] = {0, 1, 2, 3, 4, 5, NAN}, carry[22] = {7}, heads[9] = {7};
    int32_t action[3];
    CHECK(puf_lean_heads(&lean, obs, carry, scratch, heads) == PUF_ENONFINITE && carry[0] == 7.0f && heads[0] == 7.0f);
    obs[6] = 6.0f;
    CHECK(puf_lean_heads(&lean, obs, NULL, scratch, heads) == PUF_EINVAL);
    CHECK(puf_lean_heads(&lean, NULL, carry, scratch, heads) == PUF_EINVAL);
    CHECK(puf_lean_heads(NULL, obs, carry, scratch, heads) == PUF_EINVAL);
    CHECK(puf_lean_heads(&lean, obs, carry, scratch, heads) == PUF_OK && heads[0] == 0.0f);
    CHECK(puf_lean_action(&lean, heads, action) == PUF_EINVAL); /* without bounds */
    int32_t at = 0;
    CHECK(puf_lean_continue(&lean, 9, &at, carry, scratch, heads) == PUF_EINVAL); /* nothing was begun */
    CHECK(puf_lean_begin(&lean, obs, scratch, &at) == PUF_OK);
    CHECK(puf_lean_continue(&lean, 0, &at, carry, scratch, heads) == PUF_EINVAL);
    CHECK(puf_lean_continue(&lean, 9, &at, NULL, scratch, heads) == PUF_EINVAL);
    CHECK(puf_lean_continue(&lean, 9, &at, carry, scratch, heads) == PUF_LEAN_BUSY);
    obs[0] = INFINITY;
    CHECK(puf_lean_begin(&lean, obs, scratch, &at) == PUF_ENONFINITE);
    CHECK(puf_lean_continue(&lean, 9, &at, carry, scratch, heads) == PUF_EINVAL);
    puf_net none = net;
    none.layers = 0;
    CHECK(puf_lean_params(&none) == 0);
    free(scratch), free(flat);
}

int main(void) {
    for (int32_t separate = 0; separate < 2; separate++) {
        for (int32_t core = PUF_NO_CORE; core <= PUF_GRU; core++) {
            puf_net net = dense_net(core, separate, separate ? PUF_RELU : PUF_TANH);
            same_as_kernels(&net, separate);
            net.action_squash = 1;
            same_as_kernels(&net, 1);
        }
    }
    const puf_net bytes = encoded_net(PUF_U8), numbers = encoded_net(PUF_F32);
    same_as_kernels(&bytes, 1);
    same_as_kernels(&bytes, 0);
    same_as_kernels(&numbers, 1);
    const layer_of_units lstm[] = {{12, 7 + 16}, {9, 12 + 16}, {11, 4 * (9 + 11) + 5 * 16}, {9, 11}};
    const layer_of_units image[] = {{48, 18 + 16}, {6, 16 + 16}, {6, 4 + 16}, {5, 6 + 16}, {4, 5 + 16}, {3, 1},
                                    {12, 13 + 16}, {9, 12 + 16}, {11, 3 * (9 + 11) + 3 * 16}, {9, 11}};
    calls_by_hand(dense_net(PUF_LSTM, 0, PUF_TANH), lstm, 4);
    calls_by_hand(numbers, image, 10);
    refusals();
    return failures > 0;
}
