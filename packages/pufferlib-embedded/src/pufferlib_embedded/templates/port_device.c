/* A device without a C library, whatever its processor: memory before main, the painted stack, text and the exit status. */
#include "port_device.h"

extern uint32_t link_data[], link_data_end[], link_data_from[], link_bss[], link_bss_end[], link_stack_limit[];
int main(void);

enum { PAINT = 0x5AA5C33C, WRITE0 = 0x04, EXIT_EXTENDED = 0x20, EXITED = 0x20026 };

static void leave(uint32_t status) {
    const uint32_t block[2] = {EXITED, status};
    for (;;) { (void)port_semihost(EXIT_EXTENDED, block); }
}

/* Of four bytes: what a RISC-V writes into mtvec. */
__attribute__((aligned(4))) void port_fault(void) { leave(99); }

void port_text(const char *text) { (void)port_semihost(WRITE0, text); }

void port_start(void) {
    const uint32_t *from = link_data_from;
    for (uint32_t *to = link_data; to < link_data_end; to++) { *to = *from++; }
    for (uint32_t *to = link_bss; to < link_bss_end; to++) { *to = 0; }
    leave((uint32_t)main());
}

/* Nothing but `work` may use the stack below between painting and looking. */
__attribute__((noinline)) uint32_t port_stack(void (*work)(void)) {
    uint32_t *top;
#if defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(top));
#else
    __asm__ volatile("mov %0, sp" : "=r"(top));
#endif
    for (volatile uint32_t *word = link_stack_limit; word < top; word++) { *word = PAINT; }
    work();
    const volatile uint32_t *lowest = link_stack_limit;
    while ((lowest < top) && (*lowest == PAINT)) { lowest++; }
    return (uint32_t)((const char *)top - (const char *)lowest);
}
