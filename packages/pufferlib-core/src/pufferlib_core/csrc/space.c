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

/* n parts of `bytes` from one place to another, with their distances. Constant sizes become single moves. */
PUF_INLINE void move(unsigned char *to, int64_t to_step, const unsigned char *from, int64_t from_step, int64_t n, size_t bytes) {
    for (int64_t i = 0; i < n; i++) { puf_copy(to + i * to_step, from + i * from_step, bytes); }
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

/* `count` numbers as float32, rounded to the nearest. */
static void to_floats(const void *from, int32_t number, int64_t count, float *PUF_RESTRICT out) {
#define CONVERT(type) \
    for (int64_t i = 0; i < count; i++) { out[i] = (float)((const type *)from)[i]; } \
    break
    switch (number) {
    case PUF_F32: puf_copy(out, from, (size_t)count * 4); break;
    case PUF_F64: CONVERT(double);
    case PUF_I8: CONVERT(int8_t);
    case PUF_U8: CONVERT(uint8_t);
    case PUF_I16: CONVERT(int16_t);
    case PUF_U16: CONVERT(uint16_t);
    case PUF_I32: CONVERT(int32_t);
    case PUF_U32: CONVERT(uint32_t);
    case PUF_I64: CONVERT(int64_t);
    default: CONVERT(uint64_t);
    }
#undef CONVERT
}

/* One whole number; choices are stored in no other type. */
static int64_t whole(const void *from, int32_t number) {
    switch (number) {
    case PUF_I8: return *(const int8_t *)from;
    case PUF_U8: return *(const uint8_t *)from;
    case PUF_I16: return *(const int16_t *)from;
    case PUF_U16: return *(const uint16_t *)from;
    case PUF_I32: return *(const int32_t *)from;
    case PUF_U32: return *(const uint32_t *)from;
    default: return *(const int64_t *)from;
    }
}

static int legal(const puf_leaf *l, int64_t row_bytes) {
    if (l->number < 0 || l->number >= PUF_NUMBERS || l->count < 1 || l->choices < 0) { return 0; }
    if (l->choices > 0 && (l->count != 1 || l->number == PUF_F32 || l->number == PUF_F64 || l->number == PUF_U64)) { return 0; }
    const int64_t size = SIZE[l->number];
    return l->offset >= 0 && l->offset % size == 0 && l->count <= row_bytes / size && l->offset <= row_bytes - l->count * size;
}

int64_t puf_features(const puf_leaf *leaves, int32_t count, const void *rows, int64_t n, int64_t row_bytes, float *out,
                     int64_t width) {
    if (leaves == NULL || rows == NULL || out == NULL || n < 0 || row_bytes < 1) { return PUF_EINVAL; }
    int64_t wide = 0;
    for (int32_t k = 0; k < count; k++) {
        if (!legal(&leaves[k], row_bytes)) { return PUF_EINVAL; }
        wide += leaves[k].choices > 0 ? leaves[k].choices : leaves[k].count;
    }
    if (wide != width) { return PUF_EINVAL; }
    for (int64_t i = 0; i < n; i++) {
        const unsigned char *row = (const unsigned char *)rows + i * row_bytes;
        float *at = out + i * width;
        for (int32_t k = 0; k < count; k++) {
            const puf_leaf *l = &leaves[k];
            if (l->choices == 0) {
                to_floats(row + l->offset, l->number, l->count, at);
                at += l->count;
                continue;
            }
            const int64_t choice = whole(row + l->offset, l->number) - l->start;
            if (choice < 0 || choice >= l->choices) { return i; }
            puf_zero(at, (size_t)l->choices * 4);
            at[choice] = 1.0f;
            at += l->choices;
        }
    }
    return n;
}
