#include "puffer/math.h"

#include "puffer/status.h"

static float sin_only(float x) {
    float s, c;
    puf_sincos(x, &s, &c);
    return s;
}

static float cos_only(float x) {
    float s, c;
    puf_sincos(x, &s, &c);
    return c;
}

static float call_sqrt(float x) { return puf_sqrt(x); }
static float call_exp(float x) { return puf_exp(x); }
static float call_log(float x) { return puf_log(x); }
static float call_tanh(float x) { return puf_tanh(x); }

static int same(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

int puf_math_map(const char *function, const float *x, float *out, int64_t n) {
    static const struct {
        const char *name;
        float (*call)(float);
    } table[] = {{"sqrt", call_sqrt}, {"sin", sin_only}, {"cos", cos_only},
                 {"exp", call_exp},   {"log", call_log}, {"tanh", call_tanh}};
    if (function == NULL || x == NULL || out == NULL || n < 0) { return PUF_EINVAL; }
    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        if (same(function, table[k].name)) {
            for (int64_t i = 0; i < n; i++) { out[i] = table[k].call(x[i]); }
            return PUF_OK;
        }
    }
    return PUF_EINVAL;
}
