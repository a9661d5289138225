/* Random numbers, elementary functions, returns, optimiser: known answers, and bit equality of the variants. */
#include "check.h"

#include <math.h>
#include <string.h>

#include "puffer/puffer.h"

static void known_answers(void) {
    /* Threefry-2x32 with 20 rounds, known-answer vectors of Random123. */
    static const uint32_t table[3][6] = {
        {0, 0, 0, 0, 0x6b200159u, 0x99ba4efeu},
        {0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0x1cb996fcu, 0xbb002be7u},
        {0x13198a2eu, 0x03707344u, 0x243f6a88u, 0x85a308d3u, 0xc4923a9cu, 0x483df7a0u},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t a, b;
        puf_threefry(table[i][0], table[i][1], table[i][2], table[i][3], &a, &b);
        CHECK(a == table[i][4] && b == table[i][5]);
    }
    CHECK(puf_unit(0xffffffffu) < 1.0f && puf_unit(0) == 0.0f && puf_unit_open(0) > 0.0f && puf_unit_open(0xffffffffu) == 1.0f);
    CHECK(puf_below(0xffffffffu, 7) == 6 && puf_below(0, 7) == 0);
    puf_rng rng = puf_rng_stream(3, 4);
    uint32_t words[4], one[4];
    puf_rng_next(&rng, &one[0], &one[1]);
    puf_rng_next(&rng, &one[2], &one[3]);
    CHECK(puf_rng_fill(3, 4, 0, words, 2) == PUF_OK && memcmp(words, one, sizeof one) == 0);
    CHECK(puf_rng_fill(3, 4, 0, NULL, 2) == PUF_EINVAL);
}

static void elementary_functions(void) {
    double worst[5] = {0};
    for (int i = -200000; i <= 200000; i++) {
        const float x = (float)i * 4.3e-4f;
        float s, c;
        puf_sincos(x, &s, &c);
        worst[0] = fmax(worst[0], fmax(fabs(s - sin((double)x)), fabs(c - cos((double)x))));
        if (fabsf(x) < 86.0f) { worst[1] = fmax(worst[1], fabs(puf_exp(x) / exp((double)x) - 1.0)); }
        const float t = x * 0.12f;
        worst[2] = fmax(worst[2], fabs(puf_tanh(t) - tanh((double)t)));
        if (x > 0.0f) {
            worst[3] = fmax(worst[3], fabs(puf_log(x) - log((double)x)) / fmax(1e-3, fabs(log((double)x))));
            worst[4] = fmax(worst[4], fabs(puf_sqrt(x) - sqrtf(x)));
        }
    }
    printf("largest errors: sincos %.1e, exp %.1e, tanh %.1e, log %.1e, sqrt %.1e\n", worst[0], worst[1], worst[2], worst[3], worst[4]);
    CHECK(worst[0] < 3e-7 && worst[1] < 2e-7 && worst[2] < 2e-7 && worst[3] < 5e-7 && worst[4] == 0.0);
    CHECK(puf_exp(-200.0f) == 0.0f && isinf(puf_exp(200.0f)) && isnan(puf_exp(NAN)) && isnan(puf_tanh(NAN)));
    CHECK(puf_tanh(50.0f) == 1.0f && puf_tanh(-50.0f) == -1.0f && puf_log(1.0f) == 0.0f);
    for (uint32_t bits = 0; bits < 0x7F800000u; bits += 1009u) { /* subnormal numbers too */
        const float root = puf_sqrt_digits(puf_from_bits(bits));
        if (root != sqrtf(puf_from_bits(bits))) { CHECK(!"puf_sqrt_digits is not correctly rounded"); }
    }
    CHECK(isnan(puf_sqrt_digits(-1.0f)) && isinf(puf_sqrt_digits(INFINITY)) && puf_to_bits(puf_sqrt_digits(-0.0f)) == 0x80000000u);
    float x = 4.0f, y = 0.0f;
    CHECK(puf_math_map("sqrt", &x, &y, 1) == PUF_OK && y == 2.0f && puf_math_map("cosh", &x, &y, 1) == PUF_EINVAL);
}

enum { T = 7, N = 133 };

static void returns_and_optimiser(void) {
    float planes[5][T * N];
    uint8_t terminated[T * N], truncated[T * N];
    for (int i = 0; i < T * N; i++) {
        for (int p = 0; p < 5; p++) { planes[p][i] = sinf((float)(i * (p + 3))); }
        terminated[i] = i % 11 == 0;
        truncated[i] = i % 13 == 0;
        if (terminated[i]) { planes[2][i] = NAN; } /* must not leak */
    }
    float first[4][T * N], other[4][T * N], param[3][N], reference[N];
    for (int isa = 0; isa < PUF_ISA_COUNT; isa++) {
        if (!puf_isa_usable(isa)) { continue; }
        float(*out)[T * N] = isa == 0 ? first : other;
        CHECK(puf_gae(isa, NULL, out[0], planes[0], planes[1], planes[2], terminated, truncated, T, N, 0.9f, 0.8f) == PUF_OK);
        CHECK(puf_vtrace(isa, NULL, out[1], out[2], planes[3], planes[4], planes[0], planes[1], planes[2], terminated,
                         truncated, T, N, 0.9f, 0.8f, 1.0f, 1.0f) == PUF_OK);
        CHECK(puf_lambda_returns(isa, NULL, out[3], planes[0], planes[2], terminated, truncated, T, N, 0.9f, 0.8f) == PUF_OK);
        for (int k = 0; k < 4; k++) {
            for (int i = 0; i < T * N; i++) { CHECK(isfinite(out[k][i])); }
            CHECK(memcmp(first[k], out[k], sizeof first[k]) == 0);
        }
        float norm;
        const puf_adam_config adam = {1e-2f, 0.9f, 0.999f, 1e-5f, 0.01f, 0.5f};
        for (int i = 0; i < N; i++) {
            param[0][i] = planes[3][i];
            param[1][i] = param[2][i] = 0.0f;
        }
        for (int step = 1; step <= 20; step++) {
            CHECK(puf_adam(isa, &adam, step, param[0], planes[4], param[1], param[2], N, &norm) == PUF_OK);
        }
        if (isa == 0) { memcpy(reference, param[0], sizeof reference); }
        CHECK(memcmp(reference, param[0], sizeof reference) == 0);
        CHECK(puf_adam(isa, &adam, 1, param[0], planes[2], param[1], param[2], N, &norm) == PUF_ENONFINITE);
        CHECK(memcmp(reference, param[0], sizeof reference) == 0);
    }
    CHECK(puf_gae(0, NULL, NULL, planes[0], planes[1], planes[2], terminated, truncated, T, N, 0.9f, 0.8f) == PUF_EINVAL);
    CHECK(puf_gae(99, NULL, first[0], planes[0], planes[1], planes[2], terminated, truncated, T, N, 0.9f, 0.8f) == PUF_EINVAL);
    /* One Adam step of a unit gradient moves by the rate, whatever the gradient's size. */
    float p = 1.0f, g = 123.0f, m = 0.0f, v = 0.0f;
    const puf_adam_config plain = {0.1f, 0.9f, 0.999f, 1e-8f, 0.0f, 0.0f};
    CHECK(puf_adam(0, &plain, 1, &p, &g, &m, &v, 1, NULL) == PUF_OK && fabsf(p - 0.9f) < 1e-6f);
    CHECK(puf_schedule(PUF_LINEAR, 1.0f, 0.0f, 0.25f) == 0.75f && puf_schedule(PUF_CONSTANT, 1.0f, 0.0f, 0.9f) == 1.0f);
    CHECK(fabsf(puf_schedule(PUF_COSINE, 1.0f, 0.0f, 0.5f) - 0.5f) < 1e-6f && puf_schedule(PUF_LINEAR, 1.0f, 0.0f, 7.0f) == 0.0f);
}

int main(void) {
    known_answers();
    elementary_functions();
    returns_and_optimiser();
    CHECK(puf_isa_usable(puf_isa_best()) && puf_isa_name(-1) == NULL && puf_version() > 0);
    for (int status = -6; status <= 1; status++) { CHECK(puf_status_text(status)[0] != '\0'); }
    return failures != 0;
}
