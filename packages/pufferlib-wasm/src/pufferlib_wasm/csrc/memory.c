/* Memory of an instance: taken from the end of linear memory, never given back. */
#include "web.h"

enum { PAGE = 65536 };

extern unsigned char __heap_base; /* of the linker: where memory begins that nothing else uses */

void *puf_web_alloc(size_t bytes) {
    static uintptr_t next; /* with the crew, the only state that an instance has besides what it allocates */
    if (next == 0) { next = puf_align_up((uintptr_t)&__heap_base); }
    const size_t size = puf_align_up(bytes > 0 ? bytes : 1);
    const uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE;
    if (size < bytes || size > UINTPTR_MAX - PAGE - next) { return NULL; }
    const uintptr_t end = next + size;
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + PAGE - 1) / PAGE) == (size_t)-1) { return NULL; }
    void *block = (void *)next;
    next = end;
    return block; /* pages come zeroed, and nothing is used twice */
}
