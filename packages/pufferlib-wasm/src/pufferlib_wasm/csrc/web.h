/* What a page uses of the core: environments, policies, players and runs as handles in linear memory.
 *
 * Everything here exists once for each instance of the module; an instance is for one thread. Memory is taken from the end of linear
 * memory and given back with the whole instance: a page makes an instance for each run and drops it. Pointers returned stay valid as
 * long as the instance; JavaScript makes its views anew after each call, because linear memory may have grown.
 *
 * Creators return NULL and write a status to *status where they fail: PUF_ENOMEM if memory cannot grow, else what the core says.
 * Other functions return what the core returns: a count or PUF_OK, or a negative status. A NULL where something is needed gives
 * PUF_EINVAL, or NULL where a pointer is returned. Names of settings are those of the sections
 * `policy` and `ppo`; choices are numbers in the order of their option; JavaScript reads the layout of the structs between the
 * marks from what was built with the module.
 */
#ifndef PUFFER_WEB_H
#define PUFFER_WEB_H

#include "puffer/puffer.h"

#if defined(__wasm__)
#define PUF_WEB(name) __attribute__((export_name(#name))) name
#else
#define PUF_WEB(name) name
#endif

/* <cdef> */
enum { PUF_WEB_WINDOW = 100 /* episodes behind the means */, PUF_WEB_MEMORY = 1 << 30 /* bytes that a handle takes at most */ };

typedef struct {
    int32_t hidden_count, hidden[8];
    int32_t activation, core, core_size, separate, normalize_obs, squash;
    int32_t conv_count, conv[12]; /* filters, kernel and stride of each convolution */
    int32_t image[3];             /* height, width and channels that the first one reads; the whole observation */
    double obs_clip, log_std_init;
} puf_web_policy_config;

typedef struct {
    int32_t horizon, epochs, minibatch, optimizer;
    int32_t schedule, clip_schedule, entropy_schedule, advantage;
    int32_t normalize_advantage, normalize_return;
    double learning_rate, gamma, lam, rho_clip, c_clip, clip, value_clip, dual_clip, value_coef, entropy_coef, kl_coef, target_kl;
    double kl_target, prioritize, priority_beta;
    double max_grad_norm, beta1, beta2, epsilon, momentum, weight_decay;
} puf_web_ppo_config;

/* How a run stands; JavaScript writes what stands above the means when it restores one. */
typedef struct {
    int64_t steps;      /* of all environments together */
    int64_t updates;
    int64_t adam_step;  /* gradient steps taken */
    int64_t episodes;
    int32_t window;     /* episodes in the two below, the oldest first */
    int32_t lengths[100];
    double returns[100];
    double kl_coef;     /* of the next update */
    double return_mean, length_mean; /* of the window; NaN before the first episode */
    /* Of the last update. */
    float policy_loss, value_loss, entropy, approx_kl, clip_fraction, grad_norm;
    float learning_rate, clip_now, entropy_coef_now, kl_coef_now;
    double explained_variance;
    double divergence;  /* with kl_target: mean over the segment of KL(policy before the update || policy after it) */
    int64_t bad_row;    /* PUF_ENONFINITE, PUF_EMASK in collect: t * n + environment */
    int32_t failed;     /* PUF_ENONFINITE in update: 1 + the minibatch; 0: none */
} puf_web_progress;

/* Arrays of a vec, for puf_web_vec_plane; n environments, shapes as in puf_planes. */
typedef enum {
    PUF_WEB_OBS, PUF_WEB_REWARD, PUF_WEB_COST, PUF_WEB_TERMINATED, PUF_WEB_TRUNCATED, PUF_WEB_VALID, PUF_WEB_FINAL_OBS,
    PUF_WEB_LOG, PUF_WEB_ACTION_MASK, PUF_WEB_ACTION /* (n, action_size) words: what the next step takes */
} puf_web_plane;

/* Arrays of a run, for puf_web_run_array. */
typedef enum {
    PUF_WEB_M, PUF_WEB_V,        /* float: means of gradients (params); those of their squares, of what Adam serves: all
                                    tensors, or with Muon those that are not `hidden`, one after the other */
    PUF_WEB_RETURN_NORM,         /* mean, variance, rows, and the running return of each environment, double; NULL without */
    PUF_WEB_FIRST_OBS,           /* (n, obs_size) what the next segment begins with */
    PUF_WEB_FIRST_ACTION_MASK,   /* (n, choices), NULL without */
    PUF_WEB_FIRST_CARRY          /* (n, carry), NULL without */
} puf_web_array;
/* </cdef> */

/* --- memory ----------------------------------------------------------------------------------------------------------- */

/* Zeroed memory, 64-byte aligned; NULL if there is none. */
void *PUF_WEB(puf_web_alloc)(size_t bytes);

/* --- threads ------------------------------------------------------------------------------------------------------------ */

/* For the module `threads` (see crew.h, whose functions it exports): environments, players and runs that are made from now on in this
 * memory share their work with the workers of this crew. Made once. */
struct puf_crew *puf_web_crew_create(int32_t members, int32_t *status);

/* --- environments ----------------------------------------------------------------------------------------------------- */

typedef struct puf_web_vec puf_web_vec;

int32_t PUF_WEB(puf_web_environments)(void);
/* NULL for a number that is none. */
const char *PUF_WEB(puf_web_environment)(int32_t index);
/* See puf_vec_init. `config` (NULL: defaults) is the environment's own struct and must stay. */
puf_web_vec *PUF_WEB(puf_web_vec_create)(int32_t index, const void *config, int32_t n, int32_t autoreset, uint64_t seed,
                                         uint64_t first_stream, int32_t *status);
const puf_env_info *PUF_WEB(puf_web_vec_info)(const puf_web_vec *vec);
/* NULL where the environment has none. */
void *PUF_WEB(puf_web_vec_plane)(const puf_web_vec *vec, int32_t plane);
int32_t PUF_WEB(puf_web_vec_reset)(puf_web_vec *vec);
int32_t PUF_WEB(puf_web_vec_step)(puf_web_vec *vec);
/* Canonical records of all environments, n * puf_web_vec_record_bytes. */
int32_t PUF_WEB(puf_web_vec_record_bytes)(const puf_web_vec *vec);
int32_t PUF_WEB(puf_web_vec_save)(const puf_web_vec *vec, void *records);
int32_t PUF_WEB(puf_web_vec_load)(puf_web_vec *vec, const void *records);

/* --- policies --------------------------------------------------------------------------------------------------------- */

typedef struct puf_web_policy puf_web_policy;

/* A policy for these spaces, those of a vec, with the initial parameters of `seed`. */
puf_web_policy *PUF_WEB(puf_web_policy_create)(const puf_env_info *info, const puf_web_policy_config *config, uint64_t seed,
                                               int32_t *status);
/* For puf_net_tensors, puf_net_tensor, puf_net_params, puf_net_carry. */
const puf_net *PUF_WEB(puf_web_policy_net)(const puf_web_policy *policy);
float *PUF_WEB(puf_web_policy_params)(puf_web_policy *policy);
/* Low and high (numbers each) of what actions are squashed into, which the caller writes before the policy acts; NULL without. */
float *PUF_WEB(puf_web_policy_bounds)(puf_web_policy *policy);
/* Mean and variance (obs_size each) and rows of the observations seen; NULL if the policy does not normalise. */
double *PUF_WEB(puf_web_policy_moments)(puf_web_policy *policy);
/* Acts from now on with parameters and moments as they are. */
int32_t PUF_WEB(puf_web_policy_load)(puf_web_policy *policy);

/* A policy that plays in a vec, with whatever it remembers. The vec has been reset. */
typedef struct puf_web_player puf_web_player;
puf_web_player *PUF_WEB(puf_web_player_create)(puf_web_policy *policy, puf_web_vec *vec, int32_t *status);
/* Acts (noise keyed by (seed, environment, step)) and steps; returns the number of episodes that ended. */
int32_t PUF_WEB(puf_web_player_step)(puf_web_player *player, uint64_t seed, uint64_t step, int32_t greedy);
/* (n) values of the observations that it acted on. */
const float *PUF_WEB(puf_web_player_value)(const puf_web_player *player);

/* --- runs ------------------------------------------------------------------------------------------------------------- */

typedef struct puf_web_run puf_web_run;

/* PPO of a policy on a vec, which is reset. Schedules end with `timesteps`. */
puf_web_run *PUF_WEB(puf_web_run_create)(puf_web_vec *vec, puf_web_policy *policy, const puf_web_ppo_config *config, uint64_t seed,
                                         double timesteps, int32_t *status);
/* Fills a segment; returns the number of episodes that ended. */
int32_t PUF_WEB(puf_web_run_collect)(puf_web_run *run);
/* Learns from the segment that was collected. */
int32_t PUF_WEB(puf_web_run_update)(puf_web_run *run);
puf_web_progress *PUF_WEB(puf_web_run_progress)(puf_web_run *run);
void *PUF_WEB(puf_web_run_array)(puf_web_run *run, int32_t array);

/* --- between the files (internal) --------------------------------------------------------------------------------------- */

/* Of the crew; NULL: there is none, and work is done one after the other. */
const puf_exec *puf_web_exec(void);

struct puf_web_vec {
    puf_vec *vec;
    puf_env_info info;
    int32_t n;
    puf_planes planes;
    void *action;
};

struct puf_web_policy {
    puf_net net;
    puf_policy *policy;
    float *params, *mean, *scale;
    float *bounds;   /* low and high; NULL: actions are not squashed */
    double *moments; /* mean, variance, rows */
    float obs_clip;
};

/* Whether a policy is for the spaces of a vec. */
int puf_web_fit(const puf_web_policy *policy, const puf_web_vec *vec);
/* What a policy squashes, of n sampled actions in place; nothing where it does not. */
void puf_web_squash(const puf_web_policy *policy, int32_t n, void *action);
/* The parameters as they are, with the statistics of observations of the last puf_web_policy_load. */
int32_t puf_web_policy_reload(puf_web_policy *policy);
/* carry (n, wide), what a policy made of rows, becomes what it hands on: nothing where an episode ended, `before` where the row is
 * not valid. */
void puf_web_hand_on(size_t n, size_t wide, const uint8_t *terminated, const uint8_t *truncated, const uint8_t *valid,
                     const float *before, float *carry);

/* Memory of a divergence. */
typedef struct {
    float *heads[2];          /* (rows, logits) of the action head, before and after the update */
    float *log_std;           /* (numbers) before */
    float *carry[2];          /* (n, carry) */
    float *logprob, *value;   /* (n) */
    void *action;             /* (n, action_size) */
} puf_web_moved;

/* 0 if memory is out. */
int puf_web_moved_allocate(puf_web_moved *moved, const puf_web_policy *policy, size_t n, size_t rows);
/* Outputs of the policy for a segment of n environments, as those of before (0) or after (1) an update. */
int32_t puf_web_moved_look(puf_web_moved *moved, const puf_web_policy *policy, const puf_segment *segment, int32_t n, int after);
/* Mean over valid rows of KL(before || after). */
double puf_web_divergence(const puf_web_moved *moved, const puf_web_policy *policy, const puf_segment *segment, size_t rows);

#endif
