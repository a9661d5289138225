#include "puffer/puffer.h"

int puf_version(void) { return 100; }

const char *puf_compiler(void) {
#if defined(__clang__)
    return __VERSION__; /* names itself */
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown compiler";
#endif
}
