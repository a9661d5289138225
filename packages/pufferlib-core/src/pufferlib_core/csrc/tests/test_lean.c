/* Rows through a policy with little memory (lean.h): the same as the kernels' to 1e-6, the same actions, and refusals. */
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
    uint8_t bytes_of[67];
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
        CHECK(puf_lean_heads(&lean, row, carried ? ours : NULL, scratch, heads) == PUF_OK);
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
    refusals();
    return failures > 0;
}
