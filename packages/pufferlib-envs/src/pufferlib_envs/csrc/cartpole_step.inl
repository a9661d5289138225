/* The rules for one ISA. Included by cartpole.c once for each, with FN(name) giving the name of the variant.
 * Lanes are independent and the loops have no branches, so that the compiler turns them into vectors. */

static void FN(step)(const void *config, void *memory, int32_t n, int32_t first, int32_t count, const void *action,
                     float *PUF_RESTRICT obs, float *PUF_RESTRICT reward, float *PUF_RESTRICT cost,
                     uint8_t *PUF_RESTRICT terminated, uint8_t *PUF_RESTRICT truncated) {
    const cartpole_batch b = cartpole_batch_at(memory, n);
    float *PUF_RESTRICT xs = b.x, *PUF_RESTRICT x_dots = b.x_dot, *PUF_RESTRICT thetas = b.theta, *PUF_RESTRICT theta_dots = b.theta_dot;
    const int32_t *PUF_RESTRICT push = (const int32_t *)action;
    (void)config;
    (void)cost;
    (void)truncated;
    for (int32_t k = first; k < first + count; k++) {
        const float x = xs[k], x_dot = x_dots[k], theta = thetas[k], theta_dot = theta_dots[k];
        const float force = push[k] == 1 ? FORCE : -FORCE;
        float sine, cosine;
        puf_sincos(theta, &sine, &cosine);
        const float temp = (force + POLE_MASS_LENGTH * (theta_dot * theta_dot) * sine) * (1.0f / TOTAL_MASS);
        const float theta_acc = (GRAVITY * sine - cosine * temp) /
                                (LENGTH * (4.0f / 3.0f - POLE_MASS * (cosine * cosine) * (1.0f / TOTAL_MASS)));
        const float x_acc = temp - POLE_MASS_LENGTH * theta_acc * cosine * (1.0f / TOTAL_MASS);
        xs[k] = x + TAU * x_dot;
        x_dots[k] = x_dot + TAU * x_acc;
        thetas[k] = theta + TAU * theta_dot;
        theta_dots[k] = theta_dot + TAU * theta_acc;
    }
    for (int32_t k = first; k < first + count; k++) {
        obs[4 * (int64_t)k] = xs[k];
        obs[4 * (int64_t)k + 1] = x_dots[k];
        obs[4 * (int64_t)k + 2] = thetas[k];
        obs[4 * (int64_t)k + 3] = theta_dots[k];
    }
    for (int32_t k = first; k < first + count; k++) {
        reward[k] = 1.0f;
        terminated[k] = (uint8_t)((int)(puf_abs(xs[k]) > X_LIMIT) | (int)(puf_abs(thetas[k]) > THETA_LIMIT));
    }
}

/* Two blocks of the environment's stream give the four numbers of a new state; sixteen environments at a time. */
static void FN(reset)(const void *config, void *memory, int32_t n, const int32_t *index, int32_t count, float *obs) {
    const cartpole_batch b = cartpole_batch_at(memory, n);
    (void)config;
    for (int32_t at = 0; at < count; at += 16) {
        const int32_t rows = count - at < 16 ? count - at : 16;
        PUF_ALIGNED(64) uint32_t key0[16] = {0}, key1[16] = {0}, low[16] = {0}, high[16] = {0};
        PUF_ALIGNED(64) float state[4][16];
        for (int32_t i = 0; i < rows; i++) {
            const puf_rng rng = b.rng[index[at + i]];
            key0[i] = rng.key[0];
            key1[i] = rng.key[1];
            low[i] = rng.counter[0];
            high[i] = rng.counter[1];
        }
        for (int32_t i = 0; i < 16; i++) {
            uint32_t w0, w1, w2, w3;
            const uint32_t next = low[i] + 1u; /* counters are even, so the low word does not wrap in between */
            puf_threefry(key0[i], key1[i], low[i], high[i], &w0, &w1);
            puf_threefry(key0[i], key1[i], next, high[i], &w2, &w3);
            state[0][i] = puf_uniform(w0, -0.05f, 0.05f);
            state[1][i] = puf_uniform(w1, -0.05f, 0.05f);
            state[2][i] = puf_uniform(w2, -0.05f, 0.05f);
            state[3][i] = puf_uniform(w3, -0.05f, 0.05f);
        }
        for (int32_t i = 0; i < rows; i++) {
            const int32_t k = index[at + i];
            b.rng[k].counter[0] = low[i] + 2u;
            b.rng[k].counter[1] = high[i] + (low[i] + 2u == 0u);
            b.x[k] = state[0][i];
            b.x_dot[k] = state[1][i];
            b.theta[k] = state[2][i];
            b.theta_dot[k] = state[3][i];
            for (int32_t j = 0; j < 4; j++) { obs[4 * (int64_t)k + j] = state[j][i]; }
        }
    }
}

static const puf_env FN(table) = {
    .abi_version = PUF_ENV_ABI,
    .struct_size = sizeof(puf_env),
    .name = "cartpole",
    .describe = cartpole_describe,
    .state_bytes = cartpole_state_bytes,
    .batch_bytes = cartpole_batch_bytes,
    .init = cartpole_init,
    .reset = FN(reset),
    .step = FN(step),
    .save_one = cartpole_save_one,
    .load_one = cartpole_load_one,
    .observe = cartpole_observe,
};
