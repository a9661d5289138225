/* Kernels that are bit-equal on every ISA: elementwise single operations in one order, turned into vectors by the compiler. */

static int32_t vec_account(float *PUF_RESTRICT episode_return, int32_t *PUF_RESTRICT episode_length,
                           const float *PUF_RESTRICT reward, const uint8_t *PUF_RESTRICT terminated,
                           uint8_t *PUF_RESTRICT truncated, int32_t max_steps, int32_t first, int32_t count,
                           int32_t *PUF_RESTRICT ended) {
    const int32_t end = first + count, limit = max_steps > 0 ? max_steps : 0x7FFFFFFF;
    for (int32_t i = first; i < end; i++) {
        episode_return[i] += reward[i];
        episode_length[i] += 1;
    }
    for (int32_t i = first; i < end; i++) { truncated[i] = (uint8_t)(truncated[i] | (uint8_t)(episode_length[i] >= limit)); }
    int32_t found = 0;
    int32_t i = first;
#if defined(HAVE_VLIST) /* without branches: every other vector holds an ended episode under random actions */
    for (; i + VW <= end; i += VW) {
        found += vlist(ended + found, vorm(vflags_n(terminated + i, VW), vflags_n(truncated + i, VW)), i);
    }
#endif
    for (; i + 8 <= end; i += 8) {
        uint64_t a, b;
        puf_copy(&a, terminated + i, 8);
        puf_copy(&b, truncated + i, 8);
        if ((a | b) == 0) { continue; }
#if defined(__GNUC__) && defined(__x86_64__)
        for (uint64_t left = a | b; left != 0; left &= left - 1) { ended[found++] = i + (__builtin_ctzll(left) >> 3); }
#else
        for (int32_t k = i; k < i + 8; k++) {
            ended[found] = k;
            found += terminated[k] | truncated[k];
        }
#endif
    }
    for (; i < end; i++) {
        ended[found] = i;
        found += terminated[i] | truncated[i];
    }
    return found;
}

static uint32_t largest(const uint32_t *x, int64_t n) {
    uint32_t top = 0;
    for (int64_t i = 0; i < n; i++) { top = x[i] > top ? x[i] : top; }
    return top;
}

/* Advantages of the first `lanes` columns from element k, given those of the later row. Multiply and add, not FMA; an ended
 * row is its delta (selected, so that NaN of the next episode cannot leak). */
PUF_INLINE vf gae_vector(const puf_returns_args *a, int64_t k, int32_t lanes, vf gamma, vf decay, vf later) {
    const vf zero = vset(0.0f);
    const vm terminated = vflags_n(a->terminated + k, lanes);
    const vm ended = vorm(terminated, vflags_n(a->truncated + k, lanes));
    const vf next = vselect(terminated, zero, vload_n(a->next_value + k, lanes));
    const vf delta = (vload_n(a->reward + k, lanes) + gamma * next) - vload_n(a->value + k, lanes);
    return vselect(ended, delta, delta + decay * later);
}

/* `vecs` vectors of columns, whose advantages of the later row stay in registers; the last holds `rest` columns. */
PUF_INLINE void gae_columns(const puf_returns_args *args, int32_t first, int vecs, int32_t rest) {
    const puf_returns_args own = *args, *a = &own; /* which no store can change: its pointers stay in registers, too */
    const vf gamma = vset(a->gamma), decay = vset(a->gamma * a->lam);
    vf later[4];
    for (int v = 0; v < vecs; v++) { later[v] = vset(0.0f); }
    for (int32_t t = a->t_len - 1; t >= 0; t--) {
        for (int v = 0; v < vecs; v++) {
            const int64_t k = (int64_t)t * a->n + first + v * VW;
            const int32_t lanes = v == vecs - 1 ? rest : VW;
            later[v] = gae_vector(a, k, lanes, gamma, decay, later[v]);
            vstore_n(a->adv + k, later[v], lanes);
        }
    }
}

/* Row by row: pages are read from end to end, and the later row's advantages come back from the cache. */
static void gae_rows(const puf_returns_args *a, int32_t first, int32_t count) {
    const vf gamma = vset(a->gamma), decay = vset(a->gamma * a->lam);
    for (int32_t t = a->t_len - 1; t >= 0; t--) {
        for (int32_t i = 0; i < count; i += VW) {
            const int64_t k = (int64_t)t * a->n + first + i;
            const int32_t lanes = count - i < VW ? count - i : VW;
            const vf later = t < a->t_len - 1 ? vload_n(a->adv + k + a->n, lanes) : vset(0.0f);
            vstore_n(a->adv + k, gae_vector(a, k, lanes, gamma, decay, later), lanes);
        }
    }
}

enum { GAE_WIDE = 1024 }; /* columns from which rows are faster than columns */

static void kernel_gae(const puf_returns_args *a, int32_t first, int32_t count) {
    const int32_t end = first + count;
    int32_t at = first;
    if (count >= GAE_WIDE) {
        gae_rows(a, first, count);
        return;
    }
    for (; at + 4 * VW <= end; at += 4 * VW) { gae_columns(a, at, 4, VW); }
    for (; at + VW <= end; at += VW) { gae_columns(a, at, 1, VW); }
    if (at < end) { gae_columns(a, at, 1, end - at); }
}

static void kernel_vtrace(const puf_returns_args *a, int32_t first, int32_t count) {
    for (int32_t t = a->t_len - 1; t >= 0; t--) {
        const int64_t at = (int64_t)t * a->n + first;
        const int last = t == a->t_len - 1;
        PUF_IVDEP
        for (int32_t i = 0; i < count; i++) {
            const int64_t k = at + i;
            const float ratio = puf_exp(a->target_logprob[k] - a->behaviour_logprob[k]);
            const float rho = puf_min(a->rho_clip, ratio);
            const float c = a->lam * puf_min(a->c_clip, ratio);
            const int ends = (a->terminated[k] | a->truncated[k]) != 0;
            const float next = a->terminated[k] ? 0.0f : a->next_value[k];
            const float delta = rho * ((a->reward[k] + a->gamma * next) - a->value[k]);
            const float diff_next = (last || ends) ? 0.0f : a->target[k + a->n] - a->value[k + a->n];
            const float bootstrap = (last || ends) ? next : a->target[k + a->n];
            a->target[k] = a->value[k] + (delta + (a->gamma * c) * diff_next);
            a->adv[k] = rho * ((a->reward[k] + a->gamma * bootstrap) - a->value[k]);
        }
    }
}

/* lam = 1 gives discounted returns. */
static void kernel_lambda(const puf_returns_args *a, int32_t first, int32_t count) {
    const float rest = 1.0f - a->lam;
    for (int32_t t = a->t_len - 1; t >= 0; t--) {
        const int64_t at = (int64_t)t * a->n + first;
        const int last = t == a->t_len - 1;
        PUF_IVDEP
        for (int32_t i = 0; i < count; i++) {
            const int64_t k = at + i;
            const float next = a->terminated[k] ? 0.0f : a->next_value[k];
            const int ends = last || (a->terminated[k] | a->truncated[k]) != 0;
            const float later = last ? 0.0f : a->adv[k + a->n];
            const float mixed = a->lam == 1.0f ? later : rest * next + a->lam * later;
            a->adv[k] = a->reward[k] + a->gamma * (ends ? next : mixed);
        }
    }
}

static void kernel_adam(const puf_adam_step *s, float *PUF_RESTRICT param, const float *PUF_RESTRICT grad,
                        float *PUF_RESTRICT m, float *PUF_RESTRICT v, int32_t n) {
    const float keep = 1.0f - s->rate * s->weight_decay;
    for (int32_t i = 0; i < n; i++) {
        const float g = grad[i] * s->grad_scale;
        m[i] = s->beta1 * m[i] + (1.0f - s->beta1) * g;
        v[i] = s->beta2 * v[i] + (1.0f - s->beta2) * (g * g);
        param[i] = param[i] * keep - (s->rate * (m[i] * s->correction1)) / (puf_sqrt(v[i] * s->correction2) + s->epsilon);
    }
}

/* Sixteen partial sums, then a tree: one order on every ISA. */
static float kernel_sum_squares(const float *x, int32_t n) {
    float lane[16] = {0};
    int32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int32_t k = 0; k < 16; k++) { lane[k] += x[i + k] * x[i + k]; }
    }
    for (int32_t k = 0; i < n; i++, k++) { lane[k] += x[i] * x[i]; }
    for (int32_t half = 8; half > 0; half /= 2) {
        for (int32_t k = 0; k < half; k++) { lane[k] += lane[k + half]; }
    }
    return lane[0];
}
