/* Advantages and returns of one segment, time-major (t_len, n), row convention of ARCHITECTURE.md.
 *
 * Elementwise IEEE single operations in one stated order, no FMA: bit-equal on every ISA and to the numpy formulas of
 * pufferlib_core.ops. `next_value` is the value of the state after the action: of the final observation where truncated,
 * ignored (selected as 0) where terminated. Both flags cut the trace; terminated wins. Outputs must not overlap inputs.
 * No allocation. With an executor, columns are split; the result does not change.
 * PUF_EINVAL: a NULL pointer, t_len < 1 or n < 1, an unknown or unusable isa.
 */
#ifndef PUFFER_RETURNS_H
#define PUFFER_RETURNS_H

#include "puffer/exec.h"
#include "puffer/status.h"

/* <cdef> */
/* delta_t = (reward_t + gamma * next_value_t) - value_t
 * adv_t   = delta_t + (gamma * lam) * adv_tp1        (no second term in the last row and where an episode ended)
 * Schulman et al. 2015 (arXiv 1506.02438), equation 16. */
int puf_gae(int isa, const puf_exec *exec, float *adv, const float *reward, const float *value, const float *next_value,
            const uint8_t *terminated, const uint8_t *truncated, int32_t t_len, int32_t n, float gamma, float lam);

/* V-trace (Espeholt et al. 2018, arXiv 1802.01561). ratio_t = exp(target_logprob_t - behaviour_logprob_t)
 * rho_t = min(rho_clip, ratio_t);  c_t = lam * min(c_clip, ratio_t)
 * delta_t  = rho_t * ((reward_t + gamma * next_value_t) - value_t)
 * diff_t   = delta_t + (gamma * c_t) * diff_tp1;     target_t = value_t + diff_t
 * adv_t    = rho_t * ((reward_t + gamma * bootstrap_t) - value_t),  bootstrap_t = target_tp1 where the episode goes on
 *            inside the segment, else next_value_t. */
int puf_vtrace(int isa, const puf_exec *exec, float *target, float *adv, const float *behaviour_logprob,
               const float *target_logprob, const float *reward, const float *value, const float *next_value,
               const uint8_t *terminated, const uint8_t *truncated, int32_t t_len, int32_t n, float gamma, float lam,
               float rho_clip, float c_clip);

/* ret_t = reward_t + gamma * (ret_tp1 inside an episode; next_value_t at its end or in the last row; 0 if terminated) */
int puf_discounted(int isa, const puf_exec *exec, float *ret, const float *reward, const float *next_value,
                   const uint8_t *terminated, const uint8_t *truncated, int32_t t_len, int32_t n, float gamma);

/* ret_t = reward_t + gamma * ((1 - lam) * next_value_t + lam * ret_tp1) inside an episode, else as puf_discounted.
 * Sutton and Barto 2018, equation 12.20. */
int puf_lambda_returns(int isa, const puf_exec *exec, float *ret, const float *reward, const float *next_value,
                       const uint8_t *terminated, const uint8_t *truncated, int32_t t_len, int32_t n, float gamma,
                       float lam);
/* </cdef> */

#endif
