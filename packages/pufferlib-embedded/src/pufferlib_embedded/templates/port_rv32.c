/* A RISC-V of 32 bits without a C library: the first instructions, the counter of instructions, and how it asks the debugger.
 *
 * Under QEMU with -icount shift=5 the counter grows by 32 with each instruction.
 */
#include "port_device.h"

enum { STEP_OF_COUNTER = 32 };

/* The three instructions are the mark of semihosting, which must be uncompressed. */
uint32_t port_semihost(uint32_t operation, const void *argument) {
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(".balign 16\n.option push\n.option norvc\nslli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(a0) : "r"(a1) : "memory");
    return a0;
}

__attribute__((section(".vectors"), naked, used)) void port_reset(void) {
    __asm__ volatile(".option push\n.option arch, +zicsr\nla sp, link_stack_top\nla t0, port_fault\ncsrw mtvec, t0\nj port_start\n.option pop");
}

static uint32_t counted(void) {
    uint32_t low;
    __asm__ volatile("rdinstret %0" : "=r"(low));
    return low;
}

/* Of fewer than 2^27. */
uint32_t port_instructions(void (*work)(void)) {
    const uint32_t before = counted();
    work();
    return (counted() - before) / STEP_OF_COUNTER;
}
