/* Distributions: bounds of memory (under the sanitizers), known values, refusals. The formulas are checked from Python. */
#include "check.h"

#include <math.h>

#include "puffer/puffer.h"

enum { ROWS = 71 };

static void run(int isa, const puf_dist *dist, int masked) {
    float *heads = (float *)block((size_t)(ROWS * dist->logits) * 4), *d_heads = (float *)block((size_t)(ROWS * dist->logits) * 4);
    float *rows = (float *)block(4 * ROWS * 4), *log_std = (float *)block(PUF_MAX_HEADS * 4);
    float *scratch = (float *)block((size_t)puf_dist_scratch(dist) * 4), *d_log_std = (float *)block(PUF_MAX_HEADS * 4);
    uint8_t *mask = masked ? (uint8_t *)block((size_t)(ROWS * puf_dist_mask_size(dist))) : NULL;
    void *action = block((size_t)(ROWS * dist->size) * 4);
    for (int i = 0; i < ROWS * dist->logits; i++) { heads[i] = sinf((float)i); }
    for (int i = 0; masked && i < ROWS * puf_dist_mask_size(dist); i++) { mask[i] = (uint8_t)(i % 3 != 1); }
    for (int i = 0; i < ROWS; i++) { rows[i] = cosf((float)i), rows[ROWS + i] = 0.1f; }
    CHECK(puf_dist_sample(isa, dist, heads, log_std, mask, ROWS, 1, 0, 9, 0, action, rows + 2 * ROWS, scratch) == PUF_OK);
    float *again = rows + 3 * ROWS, *entropy = d_heads;
    CHECK(puf_dist_evaluate(isa, dist, heads, log_std, mask, ROWS, action, again, entropy, scratch) == PUF_OK);
    for (int i = 0; i < ROWS; i++) { CHECK(fabsf(again[i] - rows[2 * ROWS + i]) < 1e-4f); }
    CHECK(puf_dist_gradient(isa, dist, heads, log_std, mask, ROWS, action, rows, rows + ROWS, d_heads, d_log_std, scratch) == PUF_OK);
    const int wide = puf_dist_mask_size(dist);
    for (int i = 0; i < ROWS * dist->logits; i++) {
        const int row = i / dist->logits, k = i % dist->logits;
        CHECK(puf_finite(d_heads[i]));
        CHECK(!masked || k >= wide || mask[row * wide + k] || d_heads[i] == 0.0f);
    }
    if (masked) {
        for (int k = 0; k < wide; k++) { mask[(ROWS - 1) * wide + k] = 0; }
        CHECK(puf_dist_evaluate(isa, dist, heads, log_std, mask, ROWS, action, again, entropy, scratch) == PUF_EMASK);
    }
    CHECK(puf_dist_evaluate(isa, dist, NULL, log_std, mask, ROWS, action, again, entropy, scratch) == PUF_EINVAL);
    void *all[] = {heads, d_heads, rows, log_std, scratch, d_log_std, mask, action};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) { free(all[i]); }
}

/* By hand: tanh 0 = 0 and tanh(+-30) = +-1; a choice before the numbers stays. */
static void squashed(void) {
    const float low[] = {-1.0f, 0.0f}, high[] = {1.0f, 3.0f}, wrong[] = {1.0f, 3.0f}, far[] = {1.0f, INFINITY};
    float action[] = {7.0f, 0.0f, 0.0f, 8.0f, 30.0f, -30.0f, 9.0f, -30.0f, 30.0f};
    const float expected[] = {7.0f, 0.0f, 1.5f, 8.0f, 1.0f, 0.0f, 9.0f, -1.0f, 3.0f};
    CHECK(puf_squash(low, high, 1, 2, 3, action) == PUF_OK);
    for (int i = 0; i < 9; i++) { CHECK(action[i] == expected[i]); }
    CHECK(puf_squash(wrong, high, 1, 2, 3, action) == PUF_EINVAL && puf_squash(low, far, 1, 2, 3, action) == PUF_EINVAL);
    CHECK(puf_squash(low, high, 1, 0, 3, action) == PUF_EINVAL && puf_squash(low, NULL, 1, 2, 3, action) == PUF_EINVAL);
}

int main(void) {
    squashed();
    const puf_dist shapes[] = {
        {.size = 1, .n = {3}, .logits = 3},
        {.size = 3, .n = {2, 5, 4}, .logits = 11},
        {.size = 2, .numbers = 2, .logits = 2},
        {.size = 4, .numbers = 2, .n = {3, 5}, .logits = 10},
        {.size = 4, .numbers = 2, .n = {3, 5}, .logits = 10, .squash = 1},
    };
    for (int isa = 0; isa < PUF_ISA_COUNT; isa++) {
        for (int k = 0; puf_isa_usable(isa) && k < 5; k++) {
            run(isa, &shapes[k], 0);
            if (puf_dist_choices(&shapes[k]) > 0) { run(isa, &shapes[k], 1); }
        }
    }
    const puf_dist wrong = {.size = 1, .n = {3}, .logits = 4}, numbers = {.size = 1, .numbers = 2, .logits = 2};
    CHECK(puf_dist_scratch(&wrong) == 0 && puf_dist_scratch(&numbers) == 0 && puf_dist_scratch(NULL) == 0);
    return failures != 0;
}
