/* A walk through the layers of a row in slices: what is done is passed, and work goes on at the first unit that is not.
 *
 * A layer says how many units it has and what one costs, and does those that puf_walk_take grants. Internal to lean.c, lean8.c.
 */
#ifndef PUFFER_WALK_H
#define PUFFER_WALK_H

#include "puffer/port.h"

typedef struct {
    int32_t done;          /* units of the row that are done */
    int32_t passed;        /* units of the layers before this one */
    int32_t budget, spent; /* of this call */
} puf_walk;

/* The first unit of this layer that is not done; negative if the layer is not reached yet. */
PUF_INLINE int32_t puf_walk_next(const puf_walk *walk) { return walk->done - walk->passed; }

/* Whether this call does a unit of a layer of `units`. The first unit of a call is always done. */
static inline int puf_walk_take(puf_walk *walk, int32_t unit, int32_t units, int32_t cost) {
    if (unit < 0 || unit >= units || (walk->spent > 0 && cost > walk->budget - walk->spent)) { return 0; }
    walk->spent += cost;
    walk->done++;
    return 1;
}

PUF_INLINE void puf_walk_pass(puf_walk *walk, int32_t units) { walk->passed += units; }

#endif
