#include <stdio.h>

#include "port.h"

void port_text(const char *text) { (void)fputs(text, stdout); }

uint32_t port_instructions(void (*work)(void)) {
    work();
    return 0;
}

uint32_t port_stack(void (*work)(void)) {
    work();
    return 0;
}
