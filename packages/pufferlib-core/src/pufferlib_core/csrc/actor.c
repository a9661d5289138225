#include "puffer/actor.h"

int puf_actor_act(puf_actor *actor, const puf_exec *exec) {
    if (actor == NULL) { return PUF_EINVAL; }
    puf_actor *a = actor;
    const int status = puf_policy_act(a->policy, exec, a->obs, a->action_mask, a->n, a->seed, a->first_env, a->step, a->greedy,
                                      a->carry, a->action, a->logprob, a->value);
    if (status == PUF_OK) { a->step++; }
    return status;
}
