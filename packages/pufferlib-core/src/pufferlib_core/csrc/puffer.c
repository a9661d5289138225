#include "puffer/puffer.h"

int puf_version(void) { return 100; }
