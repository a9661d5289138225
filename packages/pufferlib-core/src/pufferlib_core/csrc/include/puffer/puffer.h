/* Everything; the order is that of the layers. */
#ifndef PUFFER_PUFFER_H
#define PUFFER_PUFFER_H

#include "puffer/port.h"
#include "puffer/status.h"
#include "puffer/cpu.h"
#include "puffer/exec.h"
#include "puffer/rng.h"
#include "puffer/math.h"
#include "puffer/returns.h"
#include "puffer/optim.h"
#include "puffer/space.h"
#include "puffer/env.h"
#include "puffer/pool.h"
#include "puffer/park.h"
#include "puffer/vec.h"
#include "puffer/dist.h"
#include "puffer/net.h"
#include "puffer/actor.h"
#include "puffer/lean.h"
#include "puffer/lean8.h"
#include "puffer/muon.h"
#include "puffer/priority.h"
#include "puffer/ppo.h"
#include "puffer/rollout.h"

/* <cdef> */
/* The version these sources were written as: 10000 * major + 100 * minor + patch. */
int puf_version(void);
/* Name and version of the compiler that built this library; never NULL. */
const char *puf_compiler(void);
/* </cdef> */

#endif
