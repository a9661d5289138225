#include "puffer/vec.h"

#include "kernels.h"

enum {
    TILE = 512, /* environments stepped and accounted for while their rows are in the first-level cache */
    SHARES = 8  /* tasks a thread */
};

struct puf_vec {
    const puf_env *env;
    const void *config;
    puf_env_info info;
    const puf_kernels *kernels;
    int32_t n;
    int32_t autoreset;
    size_t state_bytes;
    void *batch;             /* live environments, laid out by the table */
    float *episode_return;   /* (n) running */
    int32_t *episode_length; /* (n) running */
    uint8_t *over;           /* (n) the episode has ended and the reset is due (NEXT_STEP, NO_RESET) */
    int32_t *ended;          /* (n) scratch: each range uses its own part */
    float *spare_cost;       /* (n) scratch: where costs go that nobody asked for */
    unsigned char *frozen;   /* (n, state_bytes) scratch: states of ended environments while the others step */
};

typedef struct {
    float episode_return;
    int32_t episode_length;
    int32_t over;
} record_tail;

static int is_batched(const puf_env *env) { return env->step != NULL; }

static size_t batch_bytes(const puf_env *env, const void *config, int32_t n) {
    return puf_align_up(is_batched(env) ? env->batch_bytes(config, n) : env->state_bytes(config) * (size_t)n);
}

int puf_env_describe(const void *table, const void *config, puf_env_info *info) {
    const puf_env *env = (const puf_env *)table;
    if (env == NULL || info == NULL) { return PUF_EINVAL; }
    if (env->abi_version != PUF_ENV_ABI || env->struct_size != sizeof(puf_env)) { return PUF_EABI; }
    const int scalar = env->reset_one != NULL && env->step_one != NULL && env->init_one != NULL;
    const int batched = env->batch_bytes != NULL && env->init != NULL && env->reset != NULL && env->step != NULL &&
                        env->save_one != NULL && env->load_one != NULL;
    if (env->describe == NULL || env->state_bytes == NULL || scalar == batched) { return PUF_EINVAL; }
    puf_zero(info, sizeof *info);
    const int status = env->describe(config, info);
    if (status != PUF_OK) { return status; }
    const int discrete = info->action_kind == PUF_ACTION_DISCRETE;
    if (info->obs_size < 1 || info->action_size < 1 || (discrete && info->action_size > PUF_MAX_HEADS) ||
        info->max_episode_steps < 0 || info->metric_count < 0 || info->metric_count > PUF_LOG_METRICS) {
        return PUF_EINVAL;
    }
    for (int32_t k = 0; discrete && k < info->action_size; k++) {
        if (info->action_n[k] < 1) { return PUF_EINVAL; }
        info->logits += info->action_n[k];
    }
    if (!discrete) { info->logits = info->action_size; }
    info->masks = discrete && (scalar ? env->mask_one != NULL : env->mask != NULL);
    return PUF_OK;
}

static size_t frozen_bytes(const puf_env *env, const void *config, int32_t n, int autoreset) {
    return autoreset == PUF_SAME_STEP ? 0 : puf_align_up(env->state_bytes(config) * (size_t)n);
}

size_t puf_vec_bytes(const void *table, const void *config, int32_t n, int autoreset) {
    puf_env_info info;
    if (n < 1 || autoreset < PUF_SAME_STEP || autoreset > PUF_NO_RESET) { return 0; }
    if (puf_env_describe(table, config, &info) != PUF_OK) { return 0; }
    const puf_env *env = (const puf_env *)table;
    return puf_align_up(sizeof(puf_vec)) + batch_bytes(env, config, n) + 4 * puf_align_up(4 * (size_t)n) +
           puf_align_up((size_t)n) + frozen_bytes(env, config, n, autoreset);
}

static void *carve(unsigned char **next, size_t bytes) {
    void *here = *next;
    *next += puf_align_up(bytes);
    return here;
}

static void *state_at(const puf_vec *vec, int32_t i) {
    return (unsigned char *)vec->batch + vec->state_bytes * (size_t)i;
}

int puf_vec_init(puf_vec **out, void *mem, size_t bytes, const void *table, const void *config, int32_t n, int autoreset,
                 int isa, uint64_t seed, uint64_t first_stream) {
    puf_env_info info;
    if (out == NULL || mem == NULL || ((uintptr_t)mem & (PUF_ALIGN - 1)) != 0 || n < 1) { return PUF_EINVAL; }
    const int status = puf_env_describe(table, config, &info);
    if (status != PUF_OK) { return status; }
    const size_t need = puf_vec_bytes(table, config, n, autoreset);
    const puf_kernels *kernels = puf_kernels_get(isa);
    if (need == 0 || kernels == NULL) { return PUF_EINVAL; }
    if (bytes < need) { return PUF_ENOMEM; }
    puf_zero(mem, need);
    unsigned char *next = (unsigned char *)mem;
    puf_vec *vec = (puf_vec *)carve(&next, sizeof(puf_vec));
    vec->env = (const puf_env *)table;
    vec->config = config;
    vec->info = info;
    vec->kernels = kernels;
    vec->n = n;
    vec->autoreset = autoreset;
    vec->state_bytes = vec->env->state_bytes(config);
    vec->batch = carve(&next, batch_bytes(vec->env, config, n));
    vec->episode_return = (float *)carve(&next, 4 * (size_t)n);
    vec->episode_length = (int32_t *)carve(&next, 4 * (size_t)n);
    vec->ended = (int32_t *)carve(&next, 4 * (size_t)n);
    vec->spare_cost = (float *)carve(&next, 4 * (size_t)n);
    vec->over = (uint8_t *)carve(&next, (size_t)n);
    vec->frozen = autoreset == PUF_SAME_STEP ? NULL : next;
    for (int32_t i = 0; i < n; i++) {
        const puf_rng stream = puf_rng_stream(seed, first_stream + (uint64_t)i);
        if (is_batched(vec->env)) {
            vec->env->init(config, vec->batch, n, i, stream);
        } else {
            vec->env->init_one(config, state_at(vec, i), stream);
        }
    }
    *out = vec;
    return PUF_OK;
}

int32_t puf_vec_size(const puf_vec *vec) { return vec->n; }
const puf_env_info *puf_vec_info(const puf_vec *vec) { return &vec->info; }

static void reset_listed(puf_vec *vec, const int32_t *index, int32_t count, float *obs) {
    const size_t width = (size_t)vec->info.obs_size;
    if (is_batched(vec->env)) {
        vec->env->reset(vec->config, vec->batch, vec->n, index, count, obs);
    } else {
        for (int32_t k = 0; k < count; k++) {
            vec->env->reset_one(vec->config, state_at(vec, index[k]), obs + width * (size_t)index[k]);
        }
    }
    for (int32_t k = 0; k < count; k++) {
        vec->episode_return[index[k]] = 0.0f;
        vec->episode_length[index[k]] = 0;
    }
    for (int32_t k = 0; vec->autoreset != PUF_SAME_STEP && k < count; k++) { vec->over[index[k]] = 0; }
}

static void env_step(puf_vec *vec, int32_t first, int32_t count, const void *action, const puf_planes *out) {
    const puf_env *env = vec->env;
    float *cost = out->cost != NULL ? out->cost : vec->spare_cost;
    puf_zero(cost + first, (size_t)count * sizeof(float));
    puf_zero(out->truncated + first, (size_t)count);
    if (is_batched(env)) {
        env->step(vec->config, vec->batch, vec->n, first, count, action, out->obs, out->reward, cost, out->terminated,
                  out->truncated);
        return;
    }
    const size_t width = (size_t)vec->info.obs_size, action_width = (size_t)vec->info.action_size;
    for (int32_t i = first; i < first + count; i++) {
        if (vec->over[i]) { continue; } /* stepping past the end may not be legal */
        env->step_one(vec->config, state_at(vec, i), (const int32_t *)action + action_width * (size_t)i,
                      out->obs + width * (size_t)i, out->reward + i, cost + i, out->terminated + i, out->truncated + i);
    }
}

static void copy_row(float *PUF_RESTRICT to, const float *PUF_RESTRICT from, size_t width) {
    if (width == 4) { /* one vector, and common enough to be worth a branch */
        puf_copy(to, from, 16);
        return;
    }
    for (size_t j = 0; j < width; j++) { to[j] = from[j]; }
}

static void write_log(const puf_vec *vec, int32_t i, puf_episode *log) {
    log->episode_return = vec->episode_return[i];
    log->episode_length = vec->episode_length[i];
    if (vec->info.metric_count == 0) { return; }
    if (is_batched(vec->env)) {
        if (vec->env->metrics != NULL) { vec->env->metrics(vec->config, vec->batch, vec->n, i, log->metric); }
    } else if (vec->env->metrics_one != NULL) {
        vec->env->metrics_one(vec->config, state_at(vec, i), log->metric);
    }
}

static void write_final(const puf_vec *vec, const int32_t *ended, int32_t count, const puf_planes *out) {
    const size_t width = (size_t)vec->info.obs_size;
    for (int32_t k = 0; out->final_obs != NULL && k < count; k++) {
        const size_t at = width * (size_t)ended[k];
        copy_row(out->final_obs + at, out->obs + at, width);
    }
    for (int32_t k = 0; out->log != NULL && k < count; k++) { write_log(vec, ended[k], &out->log[ended[k]]); }
}

static void write_masks(const puf_vec *vec, int32_t first, int32_t count, uint8_t *action_mask) {
    if (action_mask == NULL || !vec->info.masks) { return; }
    if (is_batched(vec->env)) {
        vec->env->mask(vec->config, vec->batch, vec->n, first, count, action_mask);
        return;
    }
    for (int32_t i = first; i < first + count; i++) {
        vec->env->mask_one(vec->config, state_at(vec, i), action_mask + (size_t)vec->info.logits * (size_t)i);
    }
}

static void fill_valid(const puf_planes *out, int32_t first, int32_t count) {
    if (out->valid == NULL) { return; }
    puf_fill(out->valid + first, 1, (size_t)count);
}

/* Environments of the range that are over: keep their states aside while the batch steps, so that an episode is the same
 * whatever the autoreset mode. Lists them in `waiting`. */
static int32_t set_aside(puf_vec *vec, int32_t first, int32_t count, int32_t *waiting) {
    int32_t found = 0;
    for (int32_t i = first; i < first + count; i++) {
        if (vec->over[i]) { waiting[found++] = i; }
    }
    for (int32_t k = 0; k < found && is_batched(vec->env); k++) {
        const int32_t i = waiting[k];
        vec->env->save_one(vec->config, vec->batch, vec->n, i, vec->frozen + vec->state_bytes * (size_t)i);
    }
    return found;
}

static void put_back(puf_vec *vec, const int32_t *waiting, int32_t count, const puf_planes *out) {
    const size_t width = (size_t)vec->info.obs_size;
    for (int32_t k = 0; k < count; k++) {
        const int32_t i = waiting[k];
        if (is_batched(vec->env)) {
            vec->env->load_one(vec->config, vec->batch, vec->n, i, vec->frozen + vec->state_bytes * (size_t)i);
        }
        out->reward[i] = 0.0f;
        if (out->cost != NULL) { out->cost[i] = 0.0f; }
        if (out->valid != NULL) { out->valid[i] = 0; }
        out->terminated[i] = 0;
        out->truncated[i] = 0;
        if (vec->autoreset == PUF_NO_RESET) {
            for (size_t j = 0; j < width; j++) { out->obs[width * (size_t)i + j] = 0.0f; }
            if (vec->env->observe != NULL) {
                const void *state = is_batched(vec->env) ? vec->frozen + vec->state_bytes * (size_t)i : state_at(vec, i);
                vec->env->observe(vec->config, state, out->obs + width * (size_t)i);
            }
        }
    }
}

static int32_t step_tile(puf_vec *vec, int32_t first, int32_t count, const void *action, const puf_planes *out) {
    int32_t waiting[TILE];
    int32_t *ended = vec->ended + first;
    const int32_t idle = vec->autoreset == PUF_SAME_STEP ? 0 : set_aside(vec, first, count, waiting);
    fill_valid(out, first, count);
    env_step(vec, first, count, action, out);
    if (idle > 0) { put_back(vec, waiting, idle, out); }
    int32_t finished = vec->kernels->vec_account(vec->episode_return, vec->episode_length, out->reward, out->terminated,
                                                 out->truncated, vec->info.max_episode_steps, first, count, ended);
    if (idle > 0) { /* accounting saw the idle rows as one more step: undo, and drop them from the list */
        int32_t kept = 0;
        for (int32_t k = 0; k < finished; k++) {
            if (!vec->over[ended[k]]) { ended[kept++] = ended[k]; }
        }
        finished = kept;
        for (int32_t k = 0; k < idle; k++) {
            vec->episode_length[waiting[k]] -= 1;
            out->truncated[waiting[k]] = 0;
        }
    }
    write_final(vec, ended, finished, out);
    if (vec->autoreset == PUF_SAME_STEP) {
        if (finished > 0) { reset_listed(vec, ended, finished, out->obs); }
    } else {
        if (vec->autoreset == PUF_NEXT_STEP && idle > 0) { reset_listed(vec, waiting, idle, out->obs); }
        for (int32_t k = 0; k < finished; k++) { vec->over[ended[k]] = 1; }
    }
    write_masks(vec, first, count, out->action_mask);
    return finished;
}

int32_t puf_vec_step_range(puf_vec *vec, int32_t first, int32_t count, const void *action, const puf_planes *out) {
    int32_t finished = 0;
    const int32_t end = first + count;
    for (int32_t at = first; at < end; at += TILE) {
        finished += step_tile(vec, at, end - at < TILE ? end - at : TILE, action, out);
    }
    return finished;
}

/* --- whole batches ----------------------------------------------------------------------------------------------- */

typedef struct {
    puf_vec *vec;
    const uint8_t *where;
    const unsigned char *action;
    puf_planes out;
    int32_t steps;
    int32_t chunk;
    int32_t finished[PUF_MAX_THREADS]; /* by thread */
} vec_job;

/* Environments of one task. Several tasks a thread, so that those who are done early find more to do; environments that
 * step as a batch do so in whole tiles. */
static int32_t plan(vec_job *job, const puf_exec *exec) {
    const int32_t n = job->vec->n, width = puf_exec_width(exec);
    const int32_t unit = is_batched(job->vec->env) ? PUF_ENV_BLOCK : 1, least = is_batched(job->vec->env) ? TILE : 1;
    const int32_t even = (n + width - 1) / width, share = (n + SHARES * width - 1) / (SHARES * width);
    const int32_t chunk = width == 1 || even < least ? even : (share > least ? share : least);
    job->chunk = (chunk + unit - 1) / unit * unit;
    return (n + job->chunk - 1) / job->chunk;
}

static void reset_task(void *context, int32_t index, int32_t thread) {
    vec_job *job = (vec_job *)context;
    puf_vec *vec = job->vec;
    const int32_t first = index * job->chunk;
    const int32_t end = first + job->chunk < vec->n ? first + job->chunk : vec->n;
    int32_t count = 0;
    for (int32_t i = first; i < end; i++) {
        if (job->where == NULL || job->where[i]) { vec->ended[first + count++] = i; }
    }
    (void)thread;
    reset_listed(vec, vec->ended + first, count, job->out.obs);
    write_masks(vec, first, end - first, job->out.action_mask);
}

int puf_vec_reset(puf_vec *vec, const puf_exec *exec, const uint8_t *where, float *obs, uint8_t *action_mask) {
    if (vec == NULL || obs == NULL) { return PUF_EINVAL; }
    vec_job job = {.vec = vec, .where = where, .out = {.obs = obs, .action_mask = action_mask}};
    puf_exec_run(exec, reset_task, &job, plan(&job, exec));
    return PUF_OK;
}

static int actions_legal(const puf_vec *vec, const int32_t *action, int64_t rows) {
    const puf_env_info *info = &vec->info;
    if (info->action_kind != PUF_ACTION_DISCRETE) { return 1; }
    if (info->action_size == 1) { return vec->kernels->largest((const uint32_t *)action, rows) < (uint32_t)info->action_n[0]; }
    uint32_t bad = 0;
    for (int64_t i = 0; i < rows; i++) {
        for (int32_t k = 0; k < info->action_size; k++) {
            bad |= (uint32_t)((uint32_t)action[i * info->action_size + k] >= (uint32_t)info->action_n[k]);
        }
    }
    return bad == 0;
}

/* `steps` steps of [first, first + count). Returns how many episodes ended. */
static int32_t run_range(vec_job *job, int32_t first, int32_t count) {
    const size_t n = (size_t)job->vec->n, width = (size_t)job->vec->info.obs_size;
    puf_planes out = job->out;
    const unsigned char *action = job->action;
    int32_t finished = 0;
    for (int32_t t = 0; t < job->steps; t++) {
        finished += puf_vec_step_range(job->vec, first, count, action, &out);
        action += 4 * n * (size_t)job->vec->info.action_size;
        out.obs += n * width;
        out.reward += n;
        out.terminated += n;
        out.truncated += n;
        if (out.cost != NULL) { out.cost += n; }
        if (out.valid != NULL) { out.valid += n; }
        if (out.log != NULL) { out.log += n; }
        if (out.action_mask != NULL) { out.action_mask += n * (size_t)job->vec->info.logits; }
    }
    return finished;
}

static void run_task(void *context, int32_t index, int32_t thread) {
    vec_job *job = (vec_job *)context;
    const int32_t first = index * job->chunk, rest = job->vec->n - first;
    job->finished[thread] += run_range(job, first, rest < job->chunk ? rest : job->chunk);
}

int puf_vec_run(puf_vec *vec, const puf_exec *exec, const void *action, int32_t steps, const puf_planes *out) {
    if (vec == NULL || action == NULL || out == NULL || out->obs == NULL || out->reward == NULL ||
        out->terminated == NULL || out->truncated == NULL || steps < 1) {
        return PUF_EINVAL;
    }
    if (!actions_legal(vec, (const int32_t *)action, (int64_t)vec->n * steps)) { return PUF_EINVAL; }
    vec_job job = {.vec = vec, .action = (const unsigned char *)action, .out = *out, .steps = steps};
    puf_exec_run(exec, run_task, &job, plan(&job, exec));
    int32_t finished = 0;
    for (int32_t k = 0; k < puf_exec_width(exec); k++) { finished += job.finished[k]; }
    return finished;
}

int puf_vec_step(puf_vec *vec, const puf_exec *exec, const void *action, const puf_planes *out) {
    return puf_vec_run(vec, exec, action, 1, out);
}

/* --- saved states ------------------------------------------------------------------------------------------------- */

size_t puf_vec_record_bytes(const puf_vec *vec) { return vec == NULL ? 0 : vec->state_bytes + sizeof(record_tail); }

int puf_vec_save(const puf_vec *vec, int32_t i, void *record) {
    if (vec == NULL || record == NULL || i < 0 || i >= vec->n) { return PUF_EINVAL; }
    if (is_batched(vec->env)) {
        vec->env->save_one(vec->config, vec->batch, vec->n, i, record);
    } else {
        puf_copy(record, state_at(vec, i), vec->state_bytes);
    }
    const record_tail tail = {vec->episode_return[i], vec->episode_length[i], vec->over[i]};
    puf_copy((unsigned char *)record + vec->state_bytes, &tail, sizeof tail);
    return PUF_OK;
}

int puf_vec_save_all(const puf_vec *vec, void *records) {
    if (vec == NULL) { return PUF_EINVAL; }
    int status = PUF_OK;
    for (int32_t i = 0; i < vec->n && status == PUF_OK; i++) {
        status = puf_vec_save(vec, i, records == NULL ? NULL : (unsigned char *)records + (size_t)i * puf_vec_record_bytes(vec));
    }
    return status;
}

int puf_vec_load(puf_vec *vec, int32_t i, const void *record) {
    if (vec == NULL || record == NULL || i < 0 || i >= vec->n) { return PUF_EINVAL; }
    record_tail tail;
    puf_copy(&tail, (const unsigned char *)record + vec->state_bytes, sizeof tail);
    /* With SAME_STEP nothing would ever start the next episode of a record whose episode is over. */
    if (tail.episode_length < 0 || tail.over < 0 || tail.over > (vec->autoreset != PUF_SAME_STEP)) { return PUF_EINVAL; }
    if (is_batched(vec->env)) {
        vec->env->load_one(vec->config, vec->batch, vec->n, i, record);
    } else {
        puf_copy(state_at(vec, i), record, vec->state_bytes);
    }
    vec->episode_return[i] = tail.episode_return;
    vec->episode_length[i] = tail.episode_length;
    vec->over[i] = (uint8_t)tail.over;
    return PUF_OK;
}

int puf_vec_observe(const puf_vec *vec, const void *record, float *obs) {
    if (vec == NULL || record == NULL || obs == NULL || vec->env->observe == NULL) { return PUF_EINVAL; }
    vec->env->observe(vec->config, record, obs);
    return PUF_OK;
}

int64_t puf_episodes(const uint8_t *terminated, const uint8_t *truncated, int64_t rows, int64_t *row, int64_t capacity) {
    int64_t found = 0;
    if (terminated == NULL || truncated == NULL || (row == NULL && capacity > 0)) { return PUF_EINVAL; }
    for (int64_t i = 0; i < rows; i++) {
        if (terminated[i] | truncated[i]) {
            if (found < capacity) { row[found] = i; }
            found++;
        }
    }
    return found;
}
