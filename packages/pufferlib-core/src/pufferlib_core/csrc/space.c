#include "puffer/space.h"

/* Bytes of rows whose parts are moved together, so that they are still in the first cache, and the fewest rows. */
enum { BLOCK = 8192, LEAST = 16 };

static int fits(const puf_field *fields, int32_t count, int64_t n, const void *rows, int64_t row_bytes) {
    if (n < 0 || row_bytes < 1 || rows == NULL || (count > 0 && fields == NULL)) { return 0; }
    for (int32_t k = 0; k < count; k++) {
        const puf_field *f = &fields[k];
        if (f->data == NULL || f->bytes < 1 || f->offset < 0 || f->offset > row_bytes - f->bytes) { return 0; }
    }
    return 1;
}

PUF_INLINE void move_one(unsigned char *to, const unsigned char *from, size_t head, size_t at, size_t tail) {
    puf_copy(to, from, head);
    if (tail > 0) { puf_copy(to + at, from + at, tail); }
}

/* The first `head` and the last `tail` bytes of n parts, which may overlap; both are constants. */
PUF_INLINE void move_constant(unsigned char *to, int64_t to_step, const unsigned char *from, int64_t from_step, int64_t n,
                              size_t bytes, size_t head, size_t tail) {
    const size_t at = bytes - tail;
    for (; n >= 4; n -= 4, to += 4 * to_step, from += 4 * from_step) {
        move_one(to, from, head, at, tail);
        move_one(to + to_step, from + from_step, head, at, tail);
        move_one(to + 2 * to_step, from + 2 * from_step, head, at, tail);
        move_one(to + 3 * to_step, from + 3 * from_step, head, at, tail);
    }
    for (; n > 0; n--, to += to_step, from += from_step) { move_one(to, from, head, at, tail); }
}

/* Parts of head <= bytes < 2 * head with the smallest tail that covers the rest. */
PUF_INLINE void move_head(unsigned char *to, int64_t to_step, const unsigned char *from, int64_t from_step, int64_t n,
                          size_t bytes, size_t head) {
    const size_t rest = bytes - head;
    if (rest == 0) {
        move_constant(to, to_step, from, from_step, n, head, head, 0);
    } else if (head > 4 && rest <= 4) {
        move_constant(to, to_step, from, from_step, n, bytes, head, 4);
    } else if (head > 8 && rest <= 8) {
        move_constant(to, to_step, from, from_step, n, bytes, head, 8);
    } else if (head > 16 && rest <= 16) {
        move_constant(to, to_step, from, from_step, n, bytes, head, 16);
    } else {
        move_constant(to, to_step, from, from_step, n, bytes, head, head);
    }
}

enum { LONG = 512 }; /* bytes from which a call of memcpy pays */

static void move(unsigned char *to, int64_t to_step, const unsigned char *from, int64_t from_step, int64_t n,
                        int64_t part_bytes) {
    const size_t bytes = (size_t)part_bytes;
    if (part_bytes == to_step && part_bytes == from_step) {
        puf_copy(to, from, bytes * (size_t)n);
    } else if (bytes >= LONG) {
        for (; n > 0; n--, to += to_step, from += from_step) { puf_copy(to, from, bytes); }
    } else if (bytes >= 64) {
        for (; n > 0; n--, to += to_step, from += from_step) {
            for (size_t at = 0; at < bytes - 64; at += 64) { puf_copy(to + at, from + at, 64); }
            puf_copy(to + bytes - 64, from + bytes - 64, 64);
        }
    } else if (bytes >= 32) {
        move_head(to, to_step, from, from_step, n, bytes, 32);
    } else if (bytes >= 16) {
        move_head(to, to_step, from, from_step, n, bytes, 16);
    } else if (bytes >= 8) {
        move_head(to, to_step, from, from_step, n, bytes, 8);
    } else if (bytes >= 4) {
        move_head(to, to_step, from, from_step, n, bytes, 4);
    } else if (bytes >= 2) {
        move_head(to, to_step, from, from_step, n, bytes, 2);
    } else {
        move_head(to, to_step, from, from_step, n, bytes, 1);
    }
}

/* How many rows of these are moved together. */
static int64_t block_of(int64_t row_bytes) { return row_bytes < BLOCK / LEAST ? BLOCK / row_bytes : LEAST; }

int puf_pack(const puf_field *fields, int32_t count, int64_t n, void *rows, int64_t row_bytes) {
    if (!fits(fields, count, n, rows, row_bytes)) { return PUF_EINVAL; }
    const int64_t block = block_of(row_bytes);
    for (int64_t first = 0; first < n; first += block) {
        const int64_t rest = n - first < block ? n - first : block;
        unsigned char *row = (unsigned char *)rows + first * row_bytes;
        for (int32_t k = 0; k < count; k++) {
            const puf_field *f = &fields[k];
            const unsigned char *from = (const unsigned char *)f->data + first * f->bytes;
            move(row + f->offset, row_bytes, from, f->bytes, rest, f->bytes);
        }
    }
    return PUF_OK;
}

int puf_unpack(const puf_field *fields, int32_t count, int64_t n, const void *rows, int64_t row_bytes) {
    if (!fits(fields, count, n, rows, row_bytes)) { return PUF_EINVAL; }
    const int64_t block = block_of(row_bytes);
    for (int64_t first = 0; first < n; first += block) {
        const int64_t rest = n - first < block ? n - first : block;
        const unsigned char *row = (const unsigned char *)rows + first * row_bytes;
        for (int32_t k = 0; k < count; k++) {
            const puf_field *f = &fields[k];
            unsigned char *to = (unsigned char *)f->data + first * f->bytes;
            move(to, f->bytes, row + f->offset, row_bytes, rest, f->bytes);
        }
    }
    return PUF_OK;
}

static const int32_t SIZE[PUF_NUMBERS] = {4, 8, 1, 1, 2, 2, 4, 4, 8, 8};

/* `count` numbers of each of n rows as float32, rounded to the nearest. */
#define NUMBERS(name, type) \
    static void name(float *PUF_RESTRICT to, int64_t width, const unsigned char *PUF_RESTRICT from, int64_t row_bytes, int64_t n, \
                     int64_t count) { \
        for (int64_t i = 0; i < n; i++) { \
            const type *row = (const type *)(const void *)(from + i * row_bytes); \
            for (int64_t k = 0; k < count; k++) { to[i * width + k] = (float)row[k]; } \
        } \
    }
NUMBERS(numbers_f64, double)
NUMBERS(numbers_i8, int8_t)
NUMBERS(numbers_u8, uint8_t)
NUMBERS(numbers_i16, int16_t)
NUMBERS(numbers_u16, uint16_t)
NUMBERS(numbers_i32, int32_t)
NUMBERS(numbers_u32, uint32_t)
NUMBERS(numbers_i64, int64_t)
NUMBERS(numbers_u64, uint64_t)

static void numbers_f32(float *PUF_RESTRICT to, int64_t width, const unsigned char *PUF_RESTRICT from, int64_t row_bytes,
                        int64_t n, int64_t count) {
    move((unsigned char *)to, 4 * width, from, row_bytes, n, 4 * count);
}

typedef void (*converter)(float *, int64_t, const unsigned char *, int64_t, int64_t, int64_t);
static const converter NUMBERS_OF[PUF_NUMBERS] = {numbers_f32, numbers_f64, numbers_i8,  numbers_u8,  numbers_i16,
                                                  numbers_u16, numbers_i32, numbers_u32, numbers_i64, numbers_u64};

/* Puts a 1 at the choice of each of n rows, whose numbers are 0. Returns the first row whose choice is none of them, or n. */
#define CHOOSER(name, type) \
    static int64_t name(const unsigned char *from, int64_t row_bytes, int64_t n, const puf_leaf *l, float *to, int64_t width) { \
        const uint64_t start = (uint64_t)l->start, choices = (uint64_t)l->choices; \
        for (int64_t i = 0; i < n; i++) { \
            const uint64_t choice = (uint64_t)*(const type *)(const void *)(from + i * row_bytes) - start; \
            if (choice >= choices) { return i; } \
            to[i * width + (int64_t)choice] = 1.0f; \
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
    int choices = 0;
    for (int32_t k = 0; k < count; k++) {
        if (!legal(&leaves[k], row_bytes)) { return PUF_EINVAL; }
        wide += leaves[k].choices > 0 ? leaves[k].choices : leaves[k].count;
        choices |= leaves[k].choices > 0;
    }
    if (wide != width) { return PUF_EINVAL; }
    const int64_t block = block_of(row_bytes > 4 * width ? row_bytes : 4 * width);
    for (int64_t first = 0; first < n && good == n; first += block) {
        const int64_t rest = n - first < block ? n - first : block;
        const unsigned char *row = (const unsigned char *)rows + first * row_bytes;
        float *at = out + first * width;
        if (choices) { puf_zero(at, (size_t)(rest * width) * 4); }
        for (int32_t k = 0; k < count; k++) {
            const puf_leaf *l = &leaves[k];
            if (l->choices == 0) {
                NUMBERS_OF[l->number](at, width, row + l->offset, row_bytes, rest, l->count);
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
