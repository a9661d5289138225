/* What the test needs of the machine that it runs on. */
#ifndef PORT_H
#define PORT_H

#include <stdint.h>

void port_text(const char *text);
/* Instructions that work() took; 0 where they are not known. */
uint32_t port_instructions(void (*work)(void));
/* Bytes of stack that work() took; 0 where they are not known. */
uint32_t port_stack(void (*work)(void));

#endif
