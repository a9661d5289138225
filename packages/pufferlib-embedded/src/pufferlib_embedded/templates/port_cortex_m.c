/* A Cortex-M without a C library: vectors, the clock, and how it asks the debugger.
 *
 * Under QEMU with -icount shift=5 an instruction takes 32 ns of the clock that SysTick counts, so that ticks are instructions.
 */
#include "port_device.h"

extern uint32_t link_stack_top[];
void port_reset(void);

enum { NS_AN_INSTRUCTION = 32 };

uint32_t port_semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void port_reset(void) {
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: the floating-point unit is on */
    __asm__ volatile("dsb\n isb");
#endif
    port_start();
}

/* 0: more than the 24 bits of the clock, 20 million instructions at 25 MHz. */
uint32_t port_instructions(void (*work)(void)) {
    volatile uint32_t *const control = (volatile uint32_t *)0xE000E010u, *const reload = control + 1, *const now = control + 2;
    *reload = 0xFFFFFFu;
    *now = 0;
    *control = 5; /* on, by the processor's clock, without an interrupt */
    const uint32_t before = *now;
    work();
    const uint32_t after = *now, wrapped = (*control >> 16) & 1u;
    *control = 0;
    return wrapped ? 0 : (uint32_t)((uint64_t)((before - after) & 0xFFFFFFu) * 1000000000u / PORT_HZ / NS_AN_INSTRUCTION);
}

__attribute__((section(".vectors"), used)) static const struct {
    void *stack;
    void (*handler[15])(void);
} VECTORS = {link_stack_top, {port_reset, port_fault, port_fault, port_fault, port_fault, port_fault, port_fault, port_fault, port_fault,
                              port_fault, port_fault, port_fault, port_fault, port_fault, port_fault}};
