/* What a page calls, on the host: every environment trains and plays; bad input and lack of memory give a status. */
#include "check.h"
#include "puffer/math.h"
#include "puffer/rng.h"
#include "web.h"

enum { MOST = 4096 /* blocks of an instance */, ROOM = 48 << 20 /* bytes of an instance */, FUZZED = 400 };

static void *blocks[MOST];
static size_t used, taken;
static size_t left = MOST; /* allocations that succeed */

void *puf_web_alloc(size_t bytes) {
    if (taken == MOST || left == 0 || bytes > ROOM - used) { return NULL; }
    left--;
    used += bytes;
    return blocks[taken++] = block(bytes);
}

/* An instance ends, with all that it allocated. */
static void end(void) {
    while (taken > 0) { free(blocks[--taken]); }
    used = 0;
    left = MOST;
}

static const puf_web_policy_config POLICY = {
    .hidden_count = 2, .hidden = {8, 8}, .core_size = 4, .obs_clip = 10.0, .log_std_init = 0.0, .normalize_obs = 1};
static const puf_web_ppo_config PPO = {
    .horizon = 8, .epochs = 2, .minibatch = 16, .schedule = 1, .normalize_advantage = 1, .normalize_return = 1, .learning_rate = 1e-3,
    .gamma = 0.99, .lam = 0.95, .rho_clip = 1.0, .c_clip = 1.0, .clip = 0.2, .value_coef = 0.5, .max_grad_norm = 0.5, .beta1 = 0.9,
    .beta2 = 0.999, .epsilon = 1e-5, .momentum = 0.95, .priority_beta = 0.4};

static puf_web_vec *vec_of(int32_t index, int32_t n) {
    int32_t status = 1;
    puf_web_vec *vec = puf_web_vec_create(index, NULL, n, 0, 3, 0, &status);
    CHECK((vec != NULL) == (status == PUF_OK));
    CHECK(vec == NULL || puf_web_vec_reset(vec) == PUF_OK);
    return vec;
}

static int continuous(const puf_web_vec *vec) { return puf_web_vec_info(vec)->action_kind == PUF_ACTION_CONTINUOUS; }

/* A policy and a run on a vec, some updates, and a player; the first status that is none of success. */
static int32_t whole_run(puf_web_vec *vec, const puf_web_policy_config *policy_config, const puf_web_ppo_config *ppo, int updates) {
    int32_t status = 1;
    puf_web_policy *policy = puf_web_policy_create(puf_web_vec_info(vec), policy_config, 5, &status);
    CHECK((policy != NULL) == (status == PUF_OK));
    if (policy == NULL) { return status; }
    float *bounds = puf_web_policy_bounds(policy);
    for (int32_t a = 0; bounds != NULL && a < vec->info.action_size; a++) {
        bounds[a] = -2.0f;
        bounds[vec->info.action_size + a] = 2.0f;
    }
    puf_web_run *run = puf_web_run_create(vec, policy, ppo, 5, 1e6, &status);
    CHECK((run != NULL) == (status == PUF_OK));
    if (run == NULL) { return status; }
    for (int32_t k = PUF_WEB_M; k <= PUF_WEB_FIRST_CARRY; k++) {
        const int always = k == PUF_WEB_M || k == PUF_WEB_V || k == PUF_WEB_FIRST_OBS;
        CHECK(!always || puf_web_run_array(run, k) != NULL);
    }
    CHECK(puf_web_run_array(run, -1) == NULL && puf_web_run_array(run, PUF_WEB_FIRST_CARRY + 1) == NULL);
    const int32_t rows = ppo->horizon * vec->n;
    for (int update = 0; update < updates; update++) {
        status = puf_web_run_collect(run);
        if (status >= 0) { status = puf_web_run_update(run); }
        if (status < 0) { return status; }
    }
    CHECK(puf_web_run_progress(run)->steps == (int64_t)updates * rows);
    puf_web_player *player = puf_web_player_create(policy, vec, &status);
    CHECK((player != NULL) == (status == PUF_OK));
    for (int t = 0; player != NULL && status >= 0 && t < 5; t++) { status = puf_web_player_step(player, 1, (uint64_t)t, t & 1); }
    return status < 0 ? status : PUF_OK;
}

static void every_environment_trains(void) {
    for (int32_t index = 0; index < puf_web_environments(); index++) {
        CHECK(puf_web_environment(index) != NULL);
        for (int kind = 0; kind < 4; kind++) {
            puf_web_vec *vec = vec_of(index, 4);
            puf_web_policy_config policy = POLICY;
            puf_web_ppo_config ppo = PPO;
            policy.squash = kind > 0 && continuous(vec);
            policy.core = kind % 3;
            policy.separate = kind & 1;
            ppo.kl_coef = 0.2;
            ppo.kl_target = kind > 0 ? 0.01 : 0.0;
            ppo.prioritize = kind > 1 ? 0.5 : 0.0;
            ppo.optimizer = kind == 3;
            ppo.advantage = kind == 2;
            CHECK(whole_run(vec, &policy, &ppo, 2) == PUF_OK);
            end();
        }
    }
    CHECK(puf_web_environment(-1) == NULL && puf_web_environment(puf_web_environments()) == NULL);
}

static int32_t named(const char *name) {
    for (int32_t index = 0;; index++) {
        const char *found = puf_web_environment(index);
        int k = 0;
        while (found[k] != 0 && found[k] == name[k]) { k++; }
        if (found[k] == name[k]) { return index; }
    }
}

static puf_web_policy_config convolutions(void) {
    puf_web_policy_config policy = POLICY;
    const int32_t conv[6] = {4, 3, 1, 3, 2, 1};
    policy.conv_count = 2;
    for (int k = 0; k < 6; k++) { policy.conv[k] = conv[k]; }
    policy.image[0] = 10;
    policy.image[1] = 5;
    policy.image[2] = 1;
    return policy;
}

static void images_are_read(void) {
    puf_web_policy_config policy = convolutions();
    puf_web_ppo_config ppo = PPO;
    ppo.optimizer = 1;
    CHECK(whole_run(vec_of(named("catch"), 4), &policy, &ppo, 2) == PUF_OK);
    end();
    policy.image[1] = 6; /* not all that is observed */
    CHECK(whole_run(vec_of(named("catch"), 4), &policy, &ppo, 1) == PUF_EINVAL);
    end();
}

static void records_go_round(void) {
    puf_web_vec *one = vec_of(named("cartpole"), 3), *other = vec_of(named("cartpole"), 3);
    const size_t bytes = 3 * (size_t)puf_web_vec_record_bytes(one);
    void *records = puf_web_alloc(bytes);
    CHECK(puf_web_vec_step(one) >= 0);
    CHECK(puf_web_vec_save(one, records) == PUF_OK && puf_web_vec_load(other, records) == PUF_OK);
    CHECK(puf_web_vec_step(one) >= 0 && puf_web_vec_step(other) >= 0);
    const float *a = puf_web_vec_plane(one, PUF_WEB_OBS), *b = puf_web_vec_plane(other, PUF_WEB_OBS);
    for (int k = 0; k < 12; k++) { CHECK(a[k] == b[k]); }
    for (int32_t plane = PUF_WEB_OBS; plane < PUF_WEB_ACTION_MASK; plane++) { CHECK(puf_web_vec_plane(one, plane) != NULL); }
    CHECK(puf_web_vec_plane(one, -1) == NULL && puf_web_vec_plane(one, 99) == NULL);
    CHECK(puf_web_vec_plane(one, PUF_WEB_ACTION_MASK) == NULL);
    end();
}

static void nothing_is_refused(void) {
    int32_t status = 1;
    puf_web_vec *vec = vec_of(0, 2);
    const puf_env_info *info = puf_web_vec_info(vec);
    puf_web_policy *policy = puf_web_policy_create(info, &POLICY, 1, &status);
    CHECK(puf_web_vec_create(0, NULL, 1, 0, 0, 0, NULL) == NULL);
    CHECK(puf_web_vec_info(NULL) == NULL && puf_web_vec_plane(NULL, 0) == NULL);
    CHECK(puf_web_vec_reset(NULL) == PUF_EINVAL && puf_web_vec_step(NULL) == PUF_EINVAL);
    CHECK(puf_web_vec_record_bytes(NULL) == PUF_EINVAL);
    CHECK(puf_web_vec_save(NULL, blocks) == PUF_EINVAL && puf_web_vec_save(vec, NULL) == PUF_EINVAL);
    CHECK(puf_web_vec_load(NULL, blocks) == PUF_EINVAL && puf_web_vec_load(vec, NULL) == PUF_EINVAL);
    CHECK(puf_web_policy_create(info, &POLICY, 1, NULL) == NULL);
    CHECK(puf_web_policy_create(NULL, &POLICY, 1, &status) == NULL && status == PUF_EINVAL);
    CHECK(puf_web_policy_create(info, NULL, 1, &status) == NULL && status == PUF_EINVAL);
    CHECK(puf_web_policy_net(NULL) == NULL && puf_web_policy_params(NULL) == NULL && puf_web_policy_moments(NULL) == NULL);
    CHECK(puf_web_policy_bounds(NULL) == NULL && puf_web_policy_load(NULL) == PUF_EINVAL);
    CHECK(puf_web_player_create(policy, vec, NULL) == NULL);
    CHECK(puf_web_player_create(NULL, vec, &status) == NULL && status == PUF_EINVAL);
    CHECK(puf_web_player_create(policy, NULL, &status) == NULL && status == PUF_EINVAL);
    CHECK(puf_web_player_step(NULL, 0, 0, 0) == PUF_EINVAL && puf_web_player_value(NULL) == NULL);
    CHECK(puf_web_run_create(vec, policy, &PPO, 0, 1.0, NULL) == NULL);
    CHECK(puf_web_run_create(NULL, policy, &PPO, 0, 1.0, &status) == NULL && status == PUF_EINVAL);
    CHECK(puf_web_run_create(vec, NULL, &PPO, 0, 1.0, &status) == NULL && status == PUF_EINVAL);
    CHECK(puf_web_run_create(vec, policy, NULL, 0, 1.0, &status) == NULL && status == PUF_EINVAL);
    CHECK(puf_web_run_collect(NULL) == PUF_EINVAL);
    CHECK(puf_web_run_update(NULL) == PUF_EINVAL && puf_web_run_progress(NULL) == NULL && puf_web_run_array(NULL, 0) == NULL);
    end();
}

static void sizes_are_checked(void) {
    const int32_t wrong[][3] = {/* index, n, autoreset */
                                {-1, 1, 0}, {99, 1, 0}, {0, 0, 0}, {0, -5, 0}, {0, 1, 7}, {0, 1, -1}, {0, 0x7FFFFFFF, 0}};
    int32_t status;
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        status = PUF_OK;
        CHECK(puf_web_vec_create(wrong[k][0], NULL, wrong[k][1], wrong[k][2], 0, 0, &status) == NULL && status < 0);
    }
    puf_web_vec *vec = vec_of(named("cartpole"), 2), *other = vec_of(named("pendulum"), 2);
    puf_web_policy *policy = puf_web_policy_create(puf_web_vec_info(vec), &POLICY, 1, &status);
    CHECK(puf_web_player_create(policy, other, &status) == NULL && status == PUF_EINVAL); /* of other spaces */
    CHECK(puf_web_run_create(other, policy, &PPO, 0, 1.0, &status) == NULL && status == PUF_EINVAL);
    const double never[] = {0.0, -1.0, (double)puf_from_bits(0x7FC00000u)};
    for (int k = 0; k < 3; k++) { CHECK(puf_web_run_create(vec, policy, &PPO, 0, never[k], &status) == NULL && status == PUF_EINVAL); }
    puf_web_policy_config squashed = POLICY;
    squashed.squash = 1;
    CHECK(puf_web_policy_create(puf_web_vec_info(vec), &squashed, 1, &status) == NULL && status == PUF_EINVAL);
    puf_web_ppo_config large = PPO;
    large.horizon = large.minibatch = large.epochs = 0x7FFFFFFF;
    large.prioritize = 1.0;
    CHECK(puf_web_run_create(vec, policy, &large, 0, 1.0, &status) == NULL && status == PUF_ENOMEM);
    end();
}

/* Whichever allocation fails, what is created says so and the rest stays usable. */
static void memory_may_end_anywhere(void) {
    puf_web_policy_config policy = POLICY;
    puf_web_ppo_config ppo = PPO;
    policy.core = PUF_LSTM;
    policy.squash = 1;
    ppo.kl_coef = ppo.kl_target = ppo.prioritize = 0.5;
    int32_t status = PUF_ENOMEM;
    for (size_t allowed = 0; status == PUF_ENOMEM; allowed++) {
        puf_web_vec *vec = NULL;
        left = allowed;
        vec = puf_web_vec_create(named("pendulum"), NULL, 4, 0, 1, 0, &status);
        if (vec != NULL) { status = puf_web_vec_reset(vec); }
        if (vec != NULL) { status = whole_run(vec, &policy, &ppo, 1); }
        CHECK(status == PUF_ENOMEM || (status == PUF_OK && allowed > 40));
        end();
    }
}

static uint32_t drawn;
static uint32_t next_below(uint32_t bound) {
    uint32_t word, unused;
    puf_threefry(1, 2, drawn++, 0, &word, &unused);
    return puf_below(word, bound);
}

static int32_t any_int(int32_t usual) {
    static const int32_t ODD[] = {0, 1, 2, 3, 8, 9, 16, 4096, 4097, -1, -0x7FFFFFFF - 1, 0x7FFFFFFF};
    return next_below(6) > 0 ? usual : ODD[next_below(sizeof ODD / sizeof ODD[0])];
}

static double any_double(double usual) {
    static const double ODD[] = {0.0, 1.0, -1.0, 0.5, 2.0, 1e-300, 1e300, -1e30};
    const uint32_t k = next_below(64);
    if (k < 8) { return ODD[k]; }
    return k == 8 ? (double)puf_from_bits(0x7FC00000u) : k == 9 ? (double)puf_from_bits(0x7F800000u) : usual;
}

/* Settings that JavaScript would have refused, too. */
static void any_settings_give_a_status(int count) {
    int fine = 0, refused = 0;
    for (int k = 0; k < count; k++) {
        puf_web_vec *vec = vec_of((int32_t)next_below((uint32_t)puf_web_environments()), 1 + (int32_t)next_below(5));
        puf_web_policy_config policy = k % 3 == 0 ? convolutions() : POLICY;
        puf_web_ppo_config ppo = PPO;
        int32_t *words = (int32_t *)&policy;
        for (size_t w = 0; w < offsetof(puf_web_policy_config, obs_clip) / 4; w++) { words[w] = next_below(4) ? words[w] : any_int(words[w]); }
        policy.obs_clip = any_double(policy.obs_clip);
        policy.log_std_init = any_double(policy.log_std_init);
        words = (int32_t *)&ppo;
        for (size_t w = 0; w < offsetof(puf_web_ppo_config, learning_rate) / 4; w++) { words[w] = next_below(4) ? words[w] : any_int(words[w]); }
        double *numbers = &ppo.learning_rate;
        for (size_t w = 0; w < (sizeof ppo - offsetof(puf_web_ppo_config, learning_rate)) / 8; w++) { numbers[w] = any_double(numbers[w]); }
        ppo.minibatch = ppo.minibatch == PPO.minibatch ? ppo.horizon : ppo.minibatch;
        ppo.epochs = ppo.epochs > 16 ? 2 : ppo.epochs; /* or they would take years */
        const int32_t status = whole_run(vec, &policy, &ppo, 1);
        CHECK(status <= PUF_OK && status >= PUF_EMASK);
        fine += status == PUF_OK;
        refused += status != PUF_OK;
        end();
    }
    CHECK(fine > count / 10 && refused > count / 10);
}

int main(int argc, char **argv) {
    (void)argv;
    every_environment_trains();
    images_are_read();
    records_go_round();
    nothing_is_refused();
    sizes_are_checked();
    memory_may_end_anywhere();
    any_settings_give_a_status(argc > 1 ? FUZZED / 10 : FUZZED);
    return failures != 0;
}
