/* A Cortex-M without a C library: vectors, memory before main, semihosting for text and the exit status.
 *
 * Under QEMU with -icount shift=5 an instruction takes 32 ns of the clock that SysTick counts, so that ticks are instructions.
 */
#include "port.h"

extern uint32_t link_stack_top[], link_data[], link_data_end[], link_data_from[], link_bss[], link_bss_end[], link_stack_limit[];
int main(void);
void port_reset(void);

enum { PAINT = 0x5AA5C33C, WRITE0 = 0x04, EXIT_EXTENDED = 0x20, EXITED = 0x20026, NS_AN_INSTRUCTION = 32 };

static uint32_t semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(uint32_t status) {
    const uint32_t block[2] = {EXITED, status};
    for (;;) { (void)semihost(EXIT_EXTENDED, block); }
}

static void fault(void) { leave(99); }

void port_text(const char *text) { (void)semihost(WRITE0, text); }

void port_reset(void) {
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: the floating-point unit is on */
    __asm__ volatile("dsb\n isb");
#endif
    const uint32_t *from = link_data_from;
    for (uint32_t *to = link_data; to < link_data_end; to++) { *to = *from++; }
    for (uint32_t *to = link_bss; to < link_bss_end; to++) { *to = 0; }
    leave((uint32_t)main());
}

/* Nothing but `work` may use the stack below between painting and looking. */
__attribute__((noinline)) void port_measure(void (*work)(void), uint32_t *instructions, uint32_t *stack) {
    volatile uint32_t *const control = (volatile uint32_t *)0xE000E010u, *const reload = control + 1, *const now = control + 2;
    uint32_t *top;
    __asm__ volatile("mov %0, sp" : "=r"(top));
    for (volatile uint32_t *word = link_stack_limit; word < top; word++) { *word = PAINT; }
    *reload = 0xFFFFFFu;
    *now = 0;
    *control = 5; /* on, by the processor's clock, without an interrupt */
    const uint32_t before = *now;
    work();
    const uint32_t after = *now, wrapped = (*control >> 16) & 1u;
    *control = 0;
    const volatile uint32_t *lowest = link_stack_limit;
    while ((lowest < top) && (*lowest == PAINT)) { lowest++; }
    *stack = (uint32_t)((const char *)top - (const char *)lowest);
    *instructions = wrapped ? 0 : (uint32_t)((uint64_t)((before - after) & 0xFFFFFFu) * 1000000000u / PORT_HZ / NS_AN_INSTRUCTION);
}

__attribute__((section(".vectors"), used)) static const struct {
    void *stack;
    void (*handler[15])(void);
} VECTORS = {link_stack_top, {port_reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault}};
