/* The rules for one ISA. Included by cartpole.c once for each, with FN(name) giving the name of the variant.
 * Lanes are independent and the loops have no branches, so that the compiler turns them into vectors. */

/* The next states. `small`: every angle is within SMALL_ANGLE, where the sine needs no range reduction; same bits. */
PUF_INLINE void FN(move)(const puf_cartpole_config *c, cartpole_batch b, const int32_t *PUF_RESTRICT push, int32_t first,
                         int32_t count, int small) {
    float *PUF_RESTRICT xs = b.x, *PUF_RESTRICT x_dots = b.x_dot, *PUF_RESTRICT thetas = b.theta,
          *PUF_RESTRICT theta_dots = b.theta_dot;
    const float mass = c->cart_mass + c->pole_mass, tau = c->tau, gravity = c->gravity;
    const float pole_share = c->pole_mass * c->length / mass, right = c->force / mass, left = -right;
    const float arm = c->length * (4.0f / 3.0f), arm_share = c->length * c->pole_mass / mass;
    for (int32_t k = first; k < first + count; k++) {
        const float x = xs[k], x_dot = x_dots[k], theta = thetas[k], theta_dot = theta_dots[k];
        float sine, cosine;
        if (small) {
            puf_sincos_small(theta, &sine, &cosine);
        } else {
            puf_sincos(theta, &sine, &cosine);
        }
        const float temp = (push[k] == 1 ? right : left) + pole_share * sine * (theta_dot * theta_dot);
        const float theta_acc = (gravity * sine - cosine * temp) / (arm - arm_share * (cosine * cosine));
        const float x_acc = temp - pole_share * cosine * theta_acc;
        xs[k] = x + tau * x_dot;
        x_dots[k] = x_dot + tau * x_acc;
        thetas[k] = theta + tau * theta_dot;
        theta_dots[k] = theta_dot + tau * theta_acc;
    }
}

static void FN(step)(const void *config, void *memory, int32_t n, int32_t first, int32_t count, const void *action,
                     float *PUF_RESTRICT obs, float *PUF_RESTRICT reward, float *PUF_RESTRICT cost,
                     uint8_t *PUF_RESTRICT terminated, uint8_t *PUF_RESTRICT truncated) {
    const cartpole_batch b = cartpole_batch_at(memory, n);
    const float *PUF_RESTRICT xs = b.x, *PUF_RESTRICT x_dots = b.x_dot, *PUF_RESTRICT thetas = b.theta,
                *PUF_RESTRICT theta_dots = b.theta_dot;
    const puf_cartpole_config *c = settings(config);
    const float x_limit = c->x_limit, theta_limit = c->theta_limit;
    (void)cost;
    (void)truncated;
    uint32_t large = 0;
    for (int32_t k = first; k < first + count; k++) { large |= (uint32_t)(puf_abs(thetas[k]) > SMALL_ANGLE); }
    if (large) { /* only with wide limits, or in states that were set from outside */
        FN(move)(c, b, (const int32_t *)action, first, count, 0);
    } else {
        FN(move)(c, b, (const int32_t *)action, first, count, 1);
    }
    for (int32_t k = first; !c->velocities && k < first + count; k++) {
        obs[2 * (int64_t)k] = xs[k];
        obs[2 * (int64_t)k + 1] = thetas[k];
    }
    for (int32_t k = first; c->velocities && k < first + count; k++) {
        obs[4 * (int64_t)k] = xs[k];
        obs[4 * (int64_t)k + 1] = x_dots[k];
        obs[4 * (int64_t)k + 2] = thetas[k];
        obs[4 * (int64_t)k + 3] = theta_dots[k];
    }
    for (int32_t k = first; k < first + count; k++) {
        reward[k] = 1.0f;
        terminated[k] = (uint8_t)((int)(puf_abs(xs[k]) > x_limit) | (int)(puf_abs(thetas[k]) > theta_limit));
    }
}

/* Two blocks of the environment's stream give the four numbers of a new state; sixteen environments at a time. */
static void FN(reset)(const void *config, void *memory, int32_t n, const int32_t *index, int32_t count, float *obs) {
    const cartpole_batch b = cartpole_batch_at(memory, n);
    const puf_cartpole_config *c = settings(config);
    const int64_t wide = c->velocities ? 4 : 2;
    for (int32_t at = 0; at < count; at += 16) {
        const int32_t rows = count - at < 16 ? count - at : 16;
        PUF_ALIGNED(64) puf_rng rng[16] = {0};
        PUF_ALIGNED(64) float state[16][4];
        for (int32_t i = 0; i < rows; i++) { rng[i] = b.rng[index[at + i]]; }
        for (int32_t i = 0; i < 16; i++) {
            uint32_t w0, w1, w2, w3;
            const uint32_t low = rng[i].counter[0], high = rng[i].counter[1];
            puf_threefry(rng[i].key[0], rng[i].key[1], low, high, &w0, &w1);
            puf_threefry(rng[i].key[0], rng[i].key[1], low + 1u, high, &w2, &w3); /* counters are even: no carry here */
            state[i][0] = puf_uniform(w0, -0.05f, 0.05f);
            state[i][1] = puf_uniform(w1, -0.05f, 0.05f);
            state[i][2] = puf_uniform(w2, -0.05f, 0.05f);
            state[i][3] = puf_uniform(w3, -0.05f, 0.05f);
            rng[i].counter[0] = low + 2u;
            rng[i].counter[1] = high + (low + 2u == 0u);
        }
        for (int32_t i = 0; i < rows; i++) {
            const int32_t k = index[at + i];
            b.rng[k] = rng[i];
            b.x[k] = state[i][0];
            b.x_dot[k] = state[i][1];
            b.theta[k] = state[i][2];
            b.theta_dot[k] = state[i][3];
            see(c, state[i], obs + wide * k);
        }
    }
}

static const puf_env FN(table) = {
    .abi_version = PUF_ENV_ABI,
    .struct_size = sizeof(puf_env),
    .name = "cartpole",
    .config_bytes = sizeof(puf_cartpole_config),
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
