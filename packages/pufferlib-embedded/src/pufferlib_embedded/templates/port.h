/* What the test needs of the machine that it runs on. */
#ifndef PORT_H
#define PORT_H

#include <stdint.h>

void port_text(const char *text);
/* Calls work(), and gives the instructions and the bytes of stack that it took; 0 where they are not known. */
void port_measure(void (*work)(void), uint32_t *instructions, uint32_t *stack);

#endif
