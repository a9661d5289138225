#include "web.h"

#define DECLARE(name) const void *puf_env_table_##name(int isa);
#define ENTRY(name) {#name, puf_env_table_##name},
#define DECLARE_OWN(name) const void *name##_table(void);
#define TABLE_OWN(name) \
    static const void *own_##name(int isa) { return (void)isa, name##_table(); }
#define ENTRY_OWN(name) {#name, own_##name},
/* The build defines PUF_WEB_ENVIRONMENTS(X) as X(name) for each environment that is installed, and PUF_WEB_OWN(X) likewise for the
 * others, which have one table for all instruction sets, `<name>_table` (pufferlib_core.c_env). */
PUF_WEB_ENVIRONMENTS(DECLARE)
PUF_WEB_OWN(DECLARE_OWN)
PUF_WEB_OWN(TABLE_OWN)

static const struct {
    const char *name;
    const void *(*table)(int isa);
} ENVIRONMENTS[] = {PUF_WEB_ENVIRONMENTS(ENTRY) PUF_WEB_OWN(ENTRY_OWN)};

enum { COUNT = sizeof ENVIRONMENTS / sizeof ENVIRONMENTS[0] };

int32_t puf_web_environments(void) { return COUNT; }

const char *puf_web_environment(int32_t index) { return index >= 0 && index < COUNT ? ENVIRONMENTS[index].name : NULL; }

/* 1 if n environments fit into the memory of an instance, with room to spare: sizes of the core are then far from 2^32. */
static int fits(const puf_env *env, const void *config, int32_t n) {
    puf_env_info info;
    if (puf_env_describe(env, config, &info) != PUF_OK) { return 1; } /* which is another mistake */
    const uint64_t row = 12 * (uint64_t)info.obs_size + 4 * (uint64_t)env->state_bytes(config) + (uint64_t)info.logits + 256;
    return row * (uint64_t)n < PUF_WEB_MEMORY;
}

/* Where a step writes. 0 if memory is out. */
static int allocate_planes(puf_web_vec *v) {
    const size_t n = (size_t)v->n, row = 4 * n * (size_t)v->info.obs_size;
    puf_planes *p = &v->planes;
    p->obs = puf_web_alloc(row);
    p->final_obs = puf_web_alloc(row);
    p->reward = puf_web_alloc(4 * n);
    p->cost = puf_web_alloc(4 * n);
    p->terminated = puf_web_alloc(n);
    p->truncated = puf_web_alloc(n);
    p->valid = puf_web_alloc(n);
    p->log = puf_web_alloc(n * sizeof(puf_episode));
    p->action_mask = v->info.masks ? puf_web_alloc(n * (size_t)v->info.logits) : NULL;
    v->action = puf_web_alloc(4 * n * (size_t)v->info.action_size);
    return p->obs != NULL && p->final_obs != NULL && p->reward != NULL && p->cost != NULL && p->terminated != NULL &&
           p->truncated != NULL && p->valid != NULL && p->log != NULL && v->action != NULL &&
           (p->action_mask != NULL || !v->info.masks);
}

puf_web_vec *puf_web_vec_create(int32_t index, const void *config, int32_t n, int32_t autoreset, uint64_t seed,
                                uint64_t first_stream, int32_t *status) {
    if (status == NULL) { return NULL; }
    *status = PUF_EINVAL;
    if (index < 0 || index >= COUNT || n < 1) { return NULL; }
    const int isa = puf_isa_best();
    const void *env = ENVIRONMENTS[index].table(isa);
    if (!fits(env, config, n)) {
        *status = PUF_ENOMEM;
        return NULL;
    }
    const size_t bytes = puf_vec_bytes(env, config, n, autoreset);
    if (bytes == 0) { return NULL; }
    puf_web_vec *v = puf_web_alloc(sizeof *v);
    void *mem = puf_web_alloc(bytes);
    *status = PUF_ENOMEM;
    if (v == NULL || mem == NULL) { return NULL; }
    *status = puf_vec_init(&v->vec, mem, bytes, env, config, n, autoreset, isa, seed, first_stream);
    if (*status != PUF_OK) { return NULL; }
    v->info = *puf_vec_info(v->vec);
    v->n = n;
    *status = allocate_planes(v) ? PUF_OK : PUF_ENOMEM;
    return *status == PUF_OK ? v : NULL;
}

const puf_env_info *puf_web_vec_info(const puf_web_vec *vec) { return vec != NULL ? &vec->info : NULL; }

void *puf_web_vec_plane(const puf_web_vec *vec, int32_t plane) {
    if (vec == NULL) { return NULL; }
    const puf_planes *p = &vec->planes;
    switch (plane) {
        case PUF_WEB_OBS: return p->obs;
        case PUF_WEB_REWARD: return p->reward;
        case PUF_WEB_COST: return p->cost;
        case PUF_WEB_TERMINATED: return p->terminated;
        case PUF_WEB_TRUNCATED: return p->truncated;
        case PUF_WEB_VALID: return p->valid;
        case PUF_WEB_FINAL_OBS: return p->final_obs;
        case PUF_WEB_LOG: return p->log;
        case PUF_WEB_ACTION_MASK: return p->action_mask;
        case PUF_WEB_ACTION: return vec->action;
        default: return NULL;
    }
}

int32_t puf_web_vec_reset(puf_web_vec *vec) {
    return vec != NULL ? puf_vec_reset(vec->vec, puf_web_exec(), NULL, vec->planes.obs, vec->planes.action_mask) : PUF_EINVAL;
}

int32_t puf_web_vec_step(puf_web_vec *vec) {
    return vec != NULL ? puf_vec_step(vec->vec, puf_web_exec(), vec->action, &vec->planes) : PUF_EINVAL;
}

int32_t puf_web_vec_record_bytes(const puf_web_vec *vec) {
    return vec != NULL ? (int32_t)puf_vec_record_bytes(vec->vec) : PUF_EINVAL;
}

int32_t puf_web_vec_save(const puf_web_vec *vec, void *records) {
    return vec != NULL && records != NULL ? puf_vec_save_all(vec->vec, records) : PUF_EINVAL;
}

int32_t puf_web_vec_load(puf_web_vec *vec, const void *records) {
    if (vec == NULL || records == NULL) { return PUF_EINVAL; }
    const size_t size = puf_vec_record_bytes(vec->vec);
    int32_t status = PUF_OK;
    for (int32_t i = 0; i < vec->n && status == PUF_OK; i++) {
        status = puf_vec_load(vec->vec, i, (const unsigned char *)records + (size_t)i * size);
    }
    return status;
}
