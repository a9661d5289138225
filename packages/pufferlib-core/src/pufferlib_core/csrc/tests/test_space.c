/* Rows of mixed numbers: round trips, features of every number type, bounds of memory (under the sanitizers), refusals. */
#include "check.h"

#include <string.h>

#include "puffer/puffer.h"

enum { ROWS = 131 };

typedef struct {
    uint8_t picture[5];
    double place[3];
    int32_t choice;
    int16_t many[20];
} row;

static void round_trip(void) {
    row *rows = (row *)block(ROWS * sizeof(row)), *again = (row *)block(ROWS * sizeof(row));
    uint8_t *picture = (uint8_t *)block(ROWS * 5);
    double *place = (double *)block(ROWS * 3 * 8);
    int32_t *choice = (int32_t *)block(ROWS * 4);
    int16_t *many = (int16_t *)block(ROWS * 20 * 2);
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < 5; k++) { picture[5 * i + k] = (uint8_t)(i + k); }
        for (int k = 0; k < 3; k++) { place[3 * i + k] = 0.5 * i + k; }
        for (int k = 0; k < 20; k++) { many[20 * i + k] = (int16_t)(i - k); }
        choice[i] = i % 4 - 2;
    }
    const puf_field fields[] = {{picture, 5, offsetof(row, picture)},
                                {place, 24, offsetof(row, place)},
                                {choice, 4, offsetof(row, choice)},
                                {many, 40, offsetof(row, many)}};
    CHECK(puf_pack(fields, 4, ROWS, rows, sizeof(row)) == PUF_OK);
    CHECK(rows[ROWS - 1].picture[4] == (uint8_t)(ROWS + 3) && rows[7].place[2] == 5.5 && rows[9].choice == -1);
    CHECK(rows[ROWS - 1].many[19] == ROWS - 20);
    memset(picture, 0, ROWS * 5), memset(place, 0, ROWS * 24), memset(choice, 0, ROWS * 4), memset(many, 0, ROWS * 40);
    CHECK(puf_unpack(fields, 4, ROWS, rows, sizeof(row)) == PUF_OK);
    CHECK(puf_pack(fields, 4, ROWS, again, sizeof(row)) == PUF_OK);
    CHECK(memcmp(rows, again, ROWS * sizeof(row)) == 0);

    const puf_leaf leaves[] = {{offsetof(row, picture), 5, PUF_U8, 0, 0},
                               {offsetof(row, place), 3, PUF_F64, 0, 0},
                               {offsetof(row, choice), 1, PUF_I32, 4, -2},
                               {offsetof(row, many), 20, PUF_I16, 0, 0}};
    float *out = (float *)block(ROWS * 32 * 4);
    CHECK(puf_features(leaves, 4, rows, ROWS, sizeof(row), out, 32) == ROWS);
    for (int i = 0; i < ROWS; i++) {
        const float *at = out + 32 * i;
        CHECK(at[0] == (float)(uint8_t)i && at[5] == 0.5f * (float)i && at[31] == (float)(i - 19));
        for (int k = 0; k < 4; k++) { CHECK(at[8 + k] == (i % 4 == k ? 1.0f : 0.0f)); }
    }
    rows[100].choice = 2;
    rows[120].choice = -3;
    CHECK(puf_features(leaves, 4, rows, ROWS, sizeof(row), out, 32) == 100);
    CHECK(puf_features(leaves, 4, rows, ROWS, sizeof(row), out, 31) == PUF_EINVAL);
    CHECK(puf_pack(fields, 4, ROWS, rows, offsetof(row, many) + 39) == PUF_EINVAL);
    CHECK(puf_unpack(fields, 4, -1, rows, sizeof(row)) == PUF_EINVAL);
    free(rows), free(again), free(picture), free(place), free(choice), free(many), free(out);
}

/* Each number type as numbers and, where it may be one, as a choice. */
static void number_types(void) {
    static const int size[PUF_NUMBERS] = {4, 8, 1, 1, 2, 2, 4, 4, 8, 8};
    for (int32_t type = 0; type < PUF_NUMBERS; type++) {
        unsigned char *rows = (unsigned char *)block((size_t)(2 * size[type]));
        float out[6];
        const float one_f = 1.0f;
        const double one_d = 1.0;
        if (type == PUF_F32) {
            memcpy(rows + 4, &one_f, 4);
        } else if (type == PUF_F64) {
            memcpy(rows + 8, &one_d, 8);
        } else {
            rows[size[type]] = 1; /* little-endian */
        }
        const puf_leaf numbers = {0, 1, type, 0, 0}, choice = {0, 1, type, 3, 0}, two = {0, 2, type, 3, 0};
        CHECK(puf_features(&numbers, 1, rows, 2, size[type], out, 1) == 2);
        CHECK(out[0] == 0.0f && out[1] == 1.0f);
        const int whole = type != PUF_F32 && type != PUF_F64 && type != PUF_U64;
        CHECK(puf_features(&choice, 1, rows, 2, size[type], out, 3) == (whole ? 2 : PUF_EINVAL));
        CHECK(!whole || (out[0] == 1.0f && out[1] == 0.0f && out[3] == 0.0f && out[4] == 1.0f));
        CHECK(puf_features(&two, 1, rows, 1, 2 * size[type], out, 3) == PUF_EINVAL);
        if (size[type] > 1) {
            const puf_leaf odd = {1, 1, type, 0, 0};
            CHECK(puf_features(&odd, 1, rows, 1, 2 * size[type], out, 1) == PUF_EINVAL);
        }
        free(rows);
    }
}

/* Parts of every length up to 200 bytes between two guards, out of the rows and back. */
static void lengths(void) {
    enum { N = 9, MOST = 200 };
    for (int bytes = 1; bytes <= MOST; bytes++) {
        const int64_t row_bytes = bytes + 2;
        unsigned char *part = (unsigned char *)block((size_t)(N * bytes)), *rows = (unsigned char *)block((size_t)(N * row_bytes));
        for (int i = 0; i < N * bytes; i++) { part[i] = (unsigned char)(31 * i + bytes); }
        memset(rows, 0xA5, (size_t)(N * row_bytes));
        const puf_field field = {part, bytes, 1};
        CHECK(puf_pack(&field, 1, N, rows, row_bytes) == PUF_OK);
        for (int i = 0; i < N; i++) {
            const unsigned char *row_i = rows + i * row_bytes;
            CHECK(row_i[0] == 0xA5 && row_i[bytes + 1] == 0xA5 && memcmp(row_i + 1, part + i * bytes, (size_t)bytes) == 0);
        }
        memset(part, 0, (size_t)(N * bytes));
        CHECK(puf_unpack(&field, 1, N, rows, row_bytes) == PUF_OK);
        for (int i = 0; i < N * bytes; i++) { CHECK(part[i] == (unsigned char)(31 * i + bytes)); }
        free(part), free(rows);
    }
}

int main(void) {
    round_trip();
    number_types();
    lengths();
    return failures != 0;
}
