/* Numbers of the random streams drawn inside the core; pufferlib_core.seeding lists all of them. */
#ifndef PUFFER_SEEDS_H
#define PUFFER_SEEDS_H

#define PUF_STREAM_INIT 0x1000000000000ull    /* + tensor */
#define PUF_STREAM_SHUFFLE 0x2000000000000ull /* + high word of the update; counter: update and block */
#define PUF_STREAM_ACTION 0x3000000000000ull  /* + component + 64 * high word of the step */
#define PUF_STREAM_PRIORITY 0x6000000000000ull /* + high word of the update; counter: update and draw */

#endif
