#include "puffer/dist.h"

#include "kernels.h"
#include "puffer/math.h"

/* One slice in planes; pieces of the caller's scratch. */
typedef struct {
    float *heads, *logprob, *entropy;
    uint32_t *action, *words;
    uint8_t *mask;
} slice;

static int legal(const puf_dist *dist) {
    if (dist == NULL || dist->size < 1 || dist->size > PUF_MAX_HEADS || dist->numbers < 0 || dist->numbers > dist->size ||
        dist->logits < 1 || dist->logits > PUF_MAX_LOGITS || dist->squash < 0 || dist->squash > (dist->numbers > 0)) {
        return 0;
    }
    int32_t total = dist->numbers;
    for (int32_t k = 0; k < puf_dist_choices(dist); k++) {
        if (dist->n[k] < 1 || dist->n[k] > PUF_MAX_LOGITS) { return 0; }
        total += dist->n[k];
    }
    return total == dist->logits;
}

int64_t puf_dist_scratch(const puf_dist *dist) {
    if (!legal(dist)) { return 0; }
    const int64_t planes = dist->logits + 2 + 3 * dist->size + (puf_dist_mask_size(dist) + 3) / 4;
    return planes * PUF_SLICE;
}

static slice slice_at(const puf_dist *dist, float *scratch) {
    slice s;
    s.heads = scratch;
    s.logprob = s.heads + dist->logits * PUF_SLICE;
    s.entropy = s.logprob + PUF_SLICE;
    s.action = (uint32_t *)(s.entropy + PUF_SLICE);
    s.words = s.action + dist->size * PUF_SLICE;
    s.mask = (uint8_t *)(s.words + 2 * dist->size * PUF_SLICE);
    return s;
}

/* Rows become planes. Places past `rows` are zero. */
static void to_planes(const void *from, int32_t rows, int32_t wide, void *to) {
    const uint32_t *row_major = (const uint32_t *)from;
    uint32_t *planes = (uint32_t *)to;
    for (int32_t k = 0; k < wide; k++) {
        for (int32_t r = 0; r < PUF_SLICE; r++) { planes[k * PUF_SLICE + r] = r < rows ? row_major[r * wide + k] : 0; }
    }
}

static void from_planes(const void *from, int32_t rows, int32_t wide, void *to) {
    const uint32_t *planes = (const uint32_t *)from;
    uint32_t *row_major = (uint32_t *)to;
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t k = 0; k < wide; k++) { row_major[r * wide + k] = planes[k * PUF_SLICE + r]; }
    }
}

const uint8_t *puf_mask_slice(const puf_dist *dist, const uint8_t *action_mask, int32_t rows, uint8_t *padded) {
    if (action_mask == NULL || rows == PUF_SLICE) { return action_mask; }
    const size_t wide = (size_t)puf_dist_mask_size(dist), bytes = (size_t)rows * wide;
    puf_copy(padded, action_mask, bytes);
    puf_fill(padded + bytes, 1, (size_t)PUF_SLICE * wide - bytes);
    return padded;
}

int puf_squash(const float *low, const float *high, int32_t choices, int32_t numbers, int64_t n, void *action) {
    if (low == NULL || high == NULL || choices < 0 || numbers < 1 || n < 1 || action == NULL) { return PUF_EINVAL; }
    for (int32_t a = 0; a < numbers; a++) {
        if (!puf_finite(low[a]) || !puf_finite(high[a]) || !(low[a] < high[a])) { return PUF_EINVAL; }
    }
    const int64_t wide = (int64_t)choices + numbers;
    for (int32_t a = 0; a < numbers; a++) {
        float *number = (float *)action + choices + a;
        for (int64_t i = 0; i < n; i++) { number[i * wide] = puf_squashed(number[i * wide], low[a], high[a]); }
    }
    return PUF_OK;
}

int puf_masks_legal(const puf_dist *dist, const uint8_t *action_mask, int64_t rows, int64_t *bad) {
    for (int64_t r = 0; r < rows; r++) {
        for (int32_t c = 0; c < puf_dist_choices(dist); c++) {
            int any = 0;
            for (int32_t k = 0; k < dist->n[c]; k++) { any |= *action_mask++; }
            if (!any) {
                *bad = r;
                return 0;
            }
        }
    }
    return 1;
}

static int check(int isa, const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask,
                 int32_t n, const void *action, const float *scratch) {
    int64_t bad;
    if (puf_kernels_get(isa) == NULL || !legal(dist) || heads == NULL || n < 1 || action == NULL || scratch == NULL ||
        ((uintptr_t)scratch & (PUF_ALIGN - 1)) != 0 || (dist->numbers > 0 && log_std == NULL) ||
        (puf_dist_choices(dist) == 0 && action_mask != NULL)) {
        return PUF_EINVAL;
    }
    return action_mask == NULL || puf_masks_legal(dist, action_mask, n, &bad) ? PUF_OK : PUF_EMASK;
}

int puf_dist_sample(int isa, const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask,
                    int32_t n, uint64_t seed, uint32_t first_env, uint64_t step, int greedy, void *action, float *logprob,
                    float *scratch) {
    const int status = check(isa, dist, heads, log_std, action_mask, n, action, scratch);
    if (status != PUF_OK || logprob == NULL) { return status != PUF_OK ? status : PUF_EINVAL; }
    const puf_dist_kernels *kernels = &puf_kernels_get(isa)->dist;
    const slice s = slice_at(dist, scratch);
    for (int32_t first = 0; first < n; first += PUF_SLICE) {
        const int32_t rows = n - first < PUF_SLICE ? n - first : PUF_SLICE;
        const uint8_t *mask = action_mask != NULL ? action_mask + (int64_t)first * puf_dist_mask_size(dist) : NULL;
        to_planes(heads + (int64_t)first * dist->logits, rows, dist->logits, s.heads);
        if (!greedy) { kernels->noise(seed, step, first_env + (uint32_t)first, rows, dist->size, s.words); }
        kernels->sample(dist, s.heads, log_std, puf_mask_slice(dist, mask, rows, s.mask), rows, s.words, greedy, s.action,
                        s.logprob);
        from_planes(s.action, rows, dist->size, (uint32_t *)action + (int64_t)first * dist->size);
        puf_copy(logprob + first, s.logprob, (size_t)rows * 4);
    }
    return PUF_OK;
}

int puf_dist_evaluate(int isa, const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask,
                      int32_t n, const void *action, float *logprob, float *entropy, float *scratch) {
    const int status = check(isa, dist, heads, log_std, action_mask, n, action, scratch);
    if (status != PUF_OK || logprob == NULL || entropy == NULL) { return status != PUF_OK ? status : PUF_EINVAL; }
    const slice s = slice_at(dist, scratch);
    for (int32_t first = 0; first < n; first += PUF_SLICE) {
        const int32_t rows = n - first < PUF_SLICE ? n - first : PUF_SLICE;
        const uint8_t *mask = action_mask != NULL ? action_mask + (int64_t)first * puf_dist_mask_size(dist) : NULL;
        to_planes(heads + (int64_t)first * dist->logits, rows, dist->logits, s.heads);
        to_planes((const uint32_t *)action + (int64_t)first * dist->size, rows, dist->size, s.action);
        puf_kernels_get(isa)->dist.evaluate(dist, s.heads, log_std, puf_mask_slice(dist, mask, rows, s.mask), s.action,
                                            s.logprob, s.entropy);
        puf_copy(logprob + first, s.logprob, (size_t)rows * 4);
        puf_copy(entropy + first, s.entropy, (size_t)rows * 4);
    }
    return PUF_OK;
}

int puf_dist_gradient(int isa, const puf_dist *dist, const float *heads, const float *log_std, const uint8_t *action_mask,
                      int32_t n, const void *action, const float *d_logprob, const float *d_entropy, float *d_heads,
                      float *d_log_std, float *scratch) {
    const int status = check(isa, dist, heads, log_std, action_mask, n, action, scratch);
    if (status != PUF_OK) { return status; }
    if (d_logprob == NULL || d_entropy == NULL || d_heads == NULL || (dist->numbers > 0 && d_log_std == NULL)) {
        return PUF_EINVAL;
    }
    const slice s = slice_at(dist, scratch);
    if (dist->numbers > 0) { puf_zero(d_log_std, (size_t)dist->numbers * 4); }
    for (int32_t first = 0; first < n; first += PUF_SLICE) {
        const int32_t rows = n - first < PUF_SLICE ? n - first : PUF_SLICE;
        const uint8_t *mask = action_mask != NULL ? action_mask + (int64_t)first * puf_dist_mask_size(dist) : NULL;
        to_planes(heads + (int64_t)first * dist->logits, rows, dist->logits, s.heads);
        to_planes((const uint32_t *)action + (int64_t)first * dist->size, rows, dist->size, s.action);
        to_planes(d_logprob + first, rows, 1, s.logprob); /* zero past the end: those rows add nothing */
        to_planes(d_entropy + first, rows, 1, s.entropy);
        puf_kernels_get(isa)->dist.gradient(dist, s.heads, log_std, puf_mask_slice(dist, mask, rows, s.mask), s.action,
                                            s.logprob, s.entropy, d_log_std);
        from_planes(s.heads, rows, dist->logits, d_heads + (int64_t)first * dist->logits);
    }
    return PUF_OK;
}
