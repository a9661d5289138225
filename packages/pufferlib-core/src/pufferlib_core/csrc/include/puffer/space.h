/* Rows of mixed numbers, as nested observations are stored: packing, unpacking, and what a network reads of them.
 *
 * A row is `row_bytes` of memory, a C struct: each part lies at an offset that its type allows. Rows follow each other
 * without gaps. Padding is neither read nor written. Threads: calls on different rows may run at once.
 */
#ifndef PUFFER_SPACE_H
#define PUFFER_SPACE_H

#include "puffer/port.h"
#include "puffer/status.h"

/* <cdef> */
typedef enum {
    PUF_F32, PUF_F64, PUF_I8, PUF_U8, PUF_I16, PUF_U16, PUF_I32, PUF_U32, PUF_I64, PUF_U64, PUF_NUMBERS
} puf_number;

/* A part of rows beside the array that holds this part of all rows: data (n, bytes). */
typedef struct {
    void *data;
    int64_t bytes;  /* of the part in one row */
    int64_t offset; /* in the row */
} puf_field;

/* A part of rows as a network reads it: `count` numbers, or one choice as so many numbers of which one is 1. */
typedef struct {
    int64_t offset;  /* in the row, bytes */
    int64_t count;   /* numbers; 1 for a choice */
    int32_t number;  /* puf_number */
    int32_t choices; /* 0: numbers */
    int64_t start;   /* the lowest choice */
} puf_leaf;

/* Copies every field of n rows into the rows. PUF_EINVAL if a field does not fit into a row. Aliasing: none allowed. */
int puf_pack(const puf_field *fields, int32_t count, int64_t n, void *rows, int64_t row_bytes);

/* The reverse: copies every field out of n rows. */
int puf_unpack(const puf_field *fields, int32_t count, int64_t n, const void *rows, int64_t row_bytes);

/* Numbers of the leaves as float32, leaf by leaf, out (n, width) with width = the sum of count or choices.
 *
 * Returns the number of rows written: n, or the index of the first row with a choice outside its range; PUF_EINVAL if
 * the leaves are not legal or do not have that width. */
int64_t puf_features(const puf_leaf *leaves, int32_t count, const void *rows, int64_t n, int64_t row_bytes, float *out,
                     int64_t width);
/* </cdef> */

#endif
