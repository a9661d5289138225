/* Rows in integers (lean8.h): a policy worked out by hand, its roundings and saturations, slices, and refusals. That they are
 * the same as the oracle's is tested from Python (pufferlib-embedded). */
#include "check.h"

#include <math.h>
#include <string.h>

#include "puffer/puffer.h"

enum { HALF = 1 << 30 }; /* a multiplier: with a shift of 31 it halves */

/* Two inputs, one hidden number, one logit and one number that is clipped. */
typedef struct {
    puf_lean8 lean;
    int8_t weight[4], scratch[8];
    int32_t bias[3], multiplier[3];
    uint8_t shift[2];
    float mean[2], scale[2], low, high, heads[2];
} tiny;

static tiny tiny_policy(int32_t activation) {
    tiny t = {.weight = {100, -50, 127, -127}, .bias = {3, 0, 5}, .multiplier = {HALF, HALF, HALF}, .shift = {31, 31},
              .mean = {1.0f, 0.0f}, .scale = {10.0f, 1.0f}, .low = -1.0f, .high = 1.0f};
    t.lean.lean.net = (puf_net){.obs_size = 2, .layers = 1, .width = {1}, .activation = activation, .action_size = 2,
                                .action_numbers = 1, .action_n = {1}};
    t.lean.lean.clip = 127.0f;
    t.lean.point = 3;
    t.lean.cell = 12;
    return t;
}

static int heads_of(tiny *t, float a, float b) {
    const float obs[2] = {a, b};
    t->lean.lean.mean = t->mean, t->lean.lean.scale = t->scale, t->lean.lean.low = &t->low, t->lean.lean.high = &t->high;
    t->lean.weight = t->weight, t->lean.bias = t->bias, t->lean.multiplier = t->multiplier, t->lean.shift = t->shift;
    return puf_lean8_heads(&t->lean, obs, NULL, t->scratch, t->heads);
}

/* Heads are halved sums in units of 1/8. */
static void by_hand(void) {
    tiny t = tiny_policy(PUF_RELU);
    /* (1.5 - 1) * 10 = 5 and 2: 3 + 500 - 100 = 403, halved 201.5, upwards 202, as a byte 74. */
    CHECK(heads_of(&t, 1.5f, 2.0f) == PUF_OK);
    CHECK(t.heads[0] == (float)((127 * 74 + 1) / 2) / 8.0f);  /* 4699 */
    CHECK(t.heads[1] == -(float)((127 * 74 - 5) / 2) / 8.0f); /* -4696.5: upwards too */
    /* Ties of inputs go upwards: 0.5 is 1 and -0.5 is 0, so that 3 - 50 * 1 and 3 - 50 * 0 are -23.5 and 1.5. */
    CHECK(heads_of(&t, 1.0f, 0.5f) == PUF_OK && t.heads[0] == -(127 * 64) / 8.0f); /* below 0: the byte -128 */
    CHECK(heads_of(&t, 1.0f, -0.5f) == PUF_OK && t.heads[0] == (127 * (2 - 128) / 2) / 8.0f);
    /* Inputs stop at 127: 3 + 12700 + 6350, halved 9526.5, more than a byte: 255 - 128. */
    for (int i = 0; i < 3; i++) {
        const float far[3] = {1e3f, 1e30f, 3.4e38f};
        CHECK(heads_of(&t, far[i], -far[i]) == PUF_OK && t.heads[0] == (127 * 127 + 1) / 2 / 8.0f);
    }
    int32_t action[2];
    CHECK(puf_lean_action(&t.lean.lean, t.heads, action) == PUF_OK && action[0] == 0);
    CHECK(memcmp(&action[1], &t.lean.lean.low[0], 4) == 0); /* clipped */
    /* Heads stop at 2^24, whatever their multiplier makes of them. */
    t.multiplier[1] = t.multiplier[2] = INT32_MAX;
    t.shift[1] = 1;
    CHECK(heads_of(&t, 2.0f, 0.0f) == PUF_OK && t.heads[0] == 2097152.0f && t.heads[1] == -2097152.0f);
}

/* tanh against libm: one hidden number, read off through a head of 127 times it. */
static void hyperbolic_tangent(void) {
    tiny t = tiny_policy(PUF_TANH);
    t.multiplier[0] = HALF, t.shift[0] = 30; /* the sum, in units of 2^-12 */
    t.weight[0] = 1, t.weight[1] = 0;
    double worst = 0.0;
    for (int32_t bias = -70000; bias <= 70000; bias += 7) {
        t.bias[0] = bias, t.bias[1] = 0;
        t.shift[1] = 30;
        CHECK(heads_of(&t, 1.0f, 0.0f) == PUF_OK);
        worst = fmax(worst, fabs(t.heads[0] * 8.0 / 127.0 - 127.0 * tanh(bias / 4096.0)));
    }
    CHECK(worst <= 0.5 + 127 * 1.2e-4);
    t.bias[0] = INT32_MAX - 127;
    CHECK(heads_of(&t, 1e9f, 0.0f) == PUF_OK && t.heads[0] == 127 * 127 / 8.0f);
}

/* An image of 5 x 4 x 2, an unread vector beside it, a core and every kind of head. */
static puf_net large_net(int32_t core, int32_t number) {
    puf_net net = {.obs_size = 43, .obs_number = number, .encoders = 2, .layers = 2, .width = {12, 9}, .activation = PUF_RELU,
                   .action_size = 3, .action_numbers = 1, .action_n = {3, 5}, .core = core, .core_size = core != 0 ? 11 : 0};
    net.encoder[0] = (puf_encoder){.size = 40, .height = 5, .width = 4, .channels = 2, .layers = 2, .out = {4, 3},
                                   .kernel = {2, 2}, .stride = {1, 2}};
    net.encoder[1] = (puf_encoder){.size = 3, .layers = core != PUF_LSTM, .out = {4}};
    return net;
}

/* Slices of any budget give what a whole step gives; nothing is written beside the scratch that was asked for. */
static void in_slices(int32_t core, int32_t number) {
    const puf_net net = large_net(core, number);
    const int32_t rows = 200, carried = puf_lean_carry(&net);
    const size_t size = (size_t)puf_lean_scratch(&net);
    int8_t *weight = block(20000), *scratch = block(size + 1), *other = block(size + 1);
    int32_t *bias = block(4 * rows), *multiplier = block(4 * rows);
    uint8_t *shift = block(16);
    float mean[43], scale[43], obs[43], heads[9], sliced[9];
    uint8_t bytes[43];
    int16_t carry[44] = {0}, again[44] = {0};
    for (int i = 0; i < 20000; i++) { weight[i] = (int8_t)((i * 7919) % 255 - 127); }
    for (int i = 0; i < rows; i++) { bias[i] = (i * 7907) % 3001 - 1500, multiplier[i] = HALF + i * 1000003; }
    for (int i = 0; i < 16; i++) { shift[i] = (uint8_t)(33 + i % 3); }
    for (int i = 0; i < 43; i++) { mean[i] = 0.5f, scale[i] = 20.0f; }
    const puf_lean8 lean = {.lean = {.net = net, .mean = mean, .scale = scale, .clip = 127.0f}, .weight = weight, .bias = bias,
                            .multiplier = multiplier, .shift = shift, .cell = 10, .point = 8};
    scratch[size] = other[size] = 77;
    for (int t = 0; t < 40; t++) {
        for (int i = 0; i < 43; i++) { obs[i] = 3.0f * sinf((float)(i + 3 * t)), bytes[i] = (uint8_t)((i * 7 + t) % 256); }
        const void *row = number == PUF_U8 ? (const void *)bytes : (const void *)obs;
        CHECK(puf_lean8_heads(&lean, row, carried ? carry : NULL, scratch, heads) == PUF_OK);
        int32_t at = 0;
        int status = puf_lean8_begin(&lean, row, other, &at), calls = 0;
        CHECK(status == PUF_OK);
        do {
            status = puf_lean8_continue(&lean, 1 + 37 * t, &at, carried ? again : NULL, other, sliced);
            calls++;
        } while (status == PUF_LEAN_BUSY);
        CHECK(status == PUF_OK && at == 0 && calls > 1);
        CHECK(memcmp(heads, sliced, sizeof heads) == 0 && memcmp(carry, again, 2 * (size_t)carried) == 0);
        CHECK(scratch[size] == 77 && other[size] == 77);
    }
    free(weight), free(scratch), free(other), free(bias), free(multiplier), free(shift);
}

static void refusals(void) {
    tiny t = tiny_policy(PUF_TANH);
    CHECK(heads_of(&t, 0.0f, 0.0f) == PUF_OK);
    t.heads[0] = 7.0f;
    CHECK(heads_of(&t, NAN, 0.0f) == PUF_ENONFINITE && heads_of(&t, 0.0f, -INFINITY) == PUF_ENONFINITE && t.heads[0] == 7.0f);
    const float obs[2] = {0.0f, 0.0f};
    int16_t carry[2] = {0};
    int32_t at = 0;
    CHECK(puf_lean8_heads(NULL, obs, NULL, t.scratch, t.heads) == PUF_EINVAL);
    CHECK(puf_lean8_heads(&t.lean, NULL, NULL, t.scratch, t.heads) == PUF_EINVAL);
    CHECK(puf_lean8_heads(&t.lean, obs, NULL, NULL, t.heads) == PUF_EINVAL);
    CHECK(puf_lean8_heads(&t.lean, obs, NULL, t.scratch, NULL) == PUF_EINVAL);
    CHECK(puf_lean8_heads(&t.lean, obs, carry, t.scratch, t.heads) == PUF_EINVAL); /* it has no memory */
    CHECK(puf_lean8_continue(&t.lean, 1, &at, NULL, t.scratch, t.heads) == PUF_EINVAL); /* nothing was begun */
    CHECK(puf_lean8_begin(&t.lean, obs, t.scratch, &at) == PUF_OK);
    CHECK(puf_lean8_continue(&t.lean, 0, &at, NULL, t.scratch, t.heads) == PUF_EINVAL);
    t.lean.lean.mean = t.lean.lean.scale = NULL; /* only bytes may go without */
    CHECK(puf_lean8_heads(&t.lean, obs, NULL, t.scratch, t.heads) == PUF_EINVAL);
    t.lean.weight = NULL;
    CHECK(puf_lean8_heads(&t.lean, obs, NULL, t.scratch, t.heads) == PUF_EINVAL);
}

int main(void) {
    by_hand();
    hyperbolic_tangent();
    for (int32_t core = PUF_NO_CORE; core <= PUF_GRU; core++) {
        in_slices(core, PUF_F32);
        in_slices(core, PUF_U8);
    }
    refusals();
    return failures > 0;
}
