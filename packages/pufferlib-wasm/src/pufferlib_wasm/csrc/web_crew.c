/* The threads of an instance: workers of the page, each with an instance of its own over the same memory (module `threads` only). */
#include "web.h"

#if defined(__wasm_atomics__)
#include "crew.h"

static puf_crew *crew; /* of the whole memory, as puf_web_alloc's */

puf_crew *puf_web_crew_create(int32_t members, int32_t *status) {
    const size_t bytes = puf_crew_bytes(members);
    void *mem = bytes > 0 ? puf_web_alloc(bytes) : NULL;
    *status = bytes > 0 ? PUF_ENOMEM : PUF_EINVAL;
    if (mem == NULL) { return NULL; }
    *status = puf_crew_init(&crew, mem, bytes, members);
    return crew;
}

const puf_exec *puf_web_exec(void) { return crew != NULL ? puf_crew_exec(crew) : NULL; }
#else
const puf_exec *puf_web_exec(void) { return NULL; }
#endif
