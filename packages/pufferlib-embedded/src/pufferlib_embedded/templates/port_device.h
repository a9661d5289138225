/* Between the two halves of a device's port: port_device.c, and the file of its processor. */
#ifndef PORT_DEVICE_H
#define PORT_DEVICE_H

#include "port.h"

/* Of the processor: asks the debugger (semihosting). */
uint32_t port_semihost(uint32_t operation, const void *argument);
/* Where the processor goes with a stack. */
void port_start(void);
/* Where it goes at a fault: ends the program with status 99. */
void port_fault(void);

#endif
