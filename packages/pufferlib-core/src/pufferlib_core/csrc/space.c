#include "puffer/space.h"

enum { BLOCK = 64 }; /* rows whose parts are moved together, so that they are still in the first cache */

static int fits(const puf_field *fields, int32_t count, int64_t n, const void *rows, int64_t row_bytes) {
    if (n < 0 || row_bytes < 1 || rows == NULL || (count > 0 && fields == NULL)) { return 0; }
    for (int32_t k = 0; k < count; k++) {
        const puf_field *f = &fields[k];
        if (f->data == NULL || f->bytes < 1 || f->offset < 0 || f->offset > row_bytes - f->bytes) { return 0; }
    }
    return 1;
}

/* n parts of `bytes` from one place to another, with their distances, four at a time. Constant sizes become single moves. */
PUF_INLINE void move(unsigned char *to, int64_t to_step, const unsigned char *from, int64_t from_step, int64_t n, size_t bytes) {
    for (; n >= 4; n -= 4, to += 4 * to_step, from += 4 * from_step) {
        puf_copy(to, from, bytes);
        puf_copy(to + to_step, from + from_step, bytes);
        puf_copy(to + 2 * to_step, from + 2 * from_step, bytes);
        puf_copy(to + 3 * to_step, from + 3 * from_step, bytes);
    }
    for (; n > 0; n--, to += to_step, from += from_step) { puf_copy(to, from, bytes); }
}

static void move_any(unsigned char *to, int64_t to_step, const unsigned char *from, int64_t from_step, int64_t n, int64_t bytes) {
    switch (bytes) {
    case 1: move(to, to_step, from, from_step, n, 1); break;
    case 2: move(to, to_step, from, from_step, n, 2); break;
    case 4: move(to, to_step, from, from_step, n, 4); break;
    case 8: move(to, to_step, from, from_step, n, 8); break;
    case 12: move(to, to_step, from, from_step, n, 12); break;
    case 16: move(to, to_step, from, from_step, n, 16); break;
    case 32: move(to, to_step, from, from_step, n, 32); break;
    case 36: move(to, to_step, from, from_step, n, 36); break;
    case 64: move(to, to_step, from, from_step, n, 64); break;
    default: move(to, to_step, from, from_step, n, (size_t)bytes);
    }
}

int puf_pack(const puf_field *fields, int32_t count, int64_t n, void *rows, int64_t row_bytes) {
    if (!fits(fields, count, n, rows, row_bytes)) { return PUF_EINVAL; }
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int64_t rest = n - first < BLOCK ? n - first : BLOCK;
        unsigned char *row = (unsigned char *)rows + first * row_bytes;
        for (int32_t k = 0; k < count; k++) {
            const puf_field *f = &fields[k];
            move_any(row + f->offset, row_bytes, (const unsigned char *)f->data + first * f->bytes, f->bytes, rest, f->bytes);
        }
    }
    return PUF_OK;
}

int puf_unpack(const puf_field *fields, int32_t count, int64_t n, const void *rows, int64_t row_bytes) {
    if (!fits(fields, count, n, rows, row_bytes)) { return PUF_EINVAL; }
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int64_t rest = n - first < BLOCK ? n - first : BLOCK;
        const unsigned char *row = (const unsigned char *)rows + first * row_bytes;
        for (int32_t k = 0; k < count; k++) {
            const puf_field *f = &fields[k];
            move_any((unsigned char *)f->data + first * f->bytes, f->bytes, row + f->offset, row_bytes, rest, f->bytes);
        }
    }
    return PUF_OK;
}

static const int32_t SIZE[PUF_NUMBERS] = {4, 8, 1, 1, 2, 2, 4, 4, 8, 8};

/* `count` numbers of each of n rows as float32, rounded to the nearest. */
#define CONVERTER(name, type) \
    static void name(const unsigned char *from, int64_t row_bytes, int64_t n, int64_t count, float *PUF_RESTRICT to, int64_t width) { \
        for (int64_t i = 0; i < n; i++) { \
            const type *row = (const type *)(const void *)(from + i * row_bytes); \
            for (int64_t k = 0; k < count; k++) { to[i * width + k] = (float)row[k]; } \
        } \
    }
CONVERTER(from_f32, float)
CONVERTER(from_f64, double)
CONVERTER(from_i8, int8_t)
CONVERTER(from_u8, uint8_t)
CONVERTER(from_i16, int16_t)
CONVERTER(from_u16, uint16_t)
CONVERTER(from_i32, int32_t)
CONVERTER(from_u32, uint32_t)
CONVERTER(from_i64, int64_t)
CONVERTER(from_u64, uint64_t)

typedef void (*converter)(const unsigned char *, int64_t, int64_t, int64_t, float *, int64_t);
static const converter CONVERT[PUF_NUMBERS] = {from_f32, from_f64, from_i8, from_u8, from_i16, from_u16, from_i32, from_u32, from_i64, from_u64};

/* Puts a 1 at the choice of each of n rows, whose numbers are 0. Returns the first row whose choice is none of them, or n. */
#define CHOOSER(name, type) \
    static int64_t name(const unsigned char *from, int64_t row_bytes, int64_t n, const puf_leaf *l, float *to, int64_t width) { \
        for (int64_t i = 0; i < n; i++) { \
            const int64_t choice = (int64_t)*(const type *)(const void *)(from + i * row_bytes) - l->start; \
            if (choice < 0 || choice >= l->choices) { return i; } \
            to[i * width + choice] = 1.0f; \
        } \
        return n; \
    }
CHOOSER(choose_i8, int8_t)
CHOOSER(choose_u8, uint8_t)
CHOOSER(choose_i16, int16_t)
CHOOSER(choose_u16, uint16_t)
CHOOSER(choose_i32, int32_t)
CHOOSER(choose_u32, uint32_t)
CHOOSER(choose_i64, int64_t)

typedef int64_t (*chooser)(const unsigned char *, int64_t, int64_t, const puf_leaf *, float *, int64_t);
static const chooser CHOOSE[PUF_NUMBERS] = {NULL, NULL, choose_i8, choose_u8, choose_i16, choose_u16, choose_i32, choose_u32, choose_i64, NULL};

static int legal(const puf_leaf *l, int64_t row_bytes) {
    if (l->number < 0 || l->number >= PUF_NUMBERS || l->count < 1 || l->choices < 0) { return 0; }
    if (l->choices > 0 && (l->count != 1 || CHOOSE[l->number] == NULL)) { return 0; }
    const int64_t size = SIZE[l->number];
    return l->offset >= 0 && l->offset % size == 0 && l->count <= row_bytes / size && l->offset <= row_bytes - l->count * size;
}

int64_t puf_features(const puf_leaf *leaves, int32_t count, const void *rows, int64_t n, int64_t row_bytes, float *out,
                     int64_t width) {
    if (leaves == NULL || rows == NULL || out == NULL || n < 0 || row_bytes < 1) { return PUF_EINVAL; }
    int64_t wide = 0, good = n;
    for (int32_t k = 0; k < count; k++) {
        if (!legal(&leaves[k], row_bytes)) { return PUF_EINVAL; }
        wide += leaves[k].choices > 0 ? leaves[k].choices : leaves[k].count;
    }
    if (wide != width) { return PUF_EINVAL; }
    for (int64_t first = 0; first < n && good == n; first += BLOCK) {
        const int64_t rest = n - first < BLOCK ? n - first : BLOCK;
        const unsigned char *row = (const unsigned char *)rows + first * row_bytes;
        float *at = out + first * width;
        puf_zero(at, (size_t)(rest * width) * 4);
        for (int32_t k = 0; k < count; k++) {
            const puf_leaf *l = &leaves[k];
            if (l->choices == 0) {
                CONVERT[l->number](row + l->offset, row_bytes, rest, l->count, at, width);
                at += l->count;
                continue;
            }
            const int64_t done = CHOOSE[l->number](row + l->offset, row_bytes, rest, l, at, width);
            if (done < rest && first + done < good) { good = first + done; }
            at += l->choices;
        }
    }
    return good;
}
