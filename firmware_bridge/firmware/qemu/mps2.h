/* QEMU's board mps2-an386, a Cortex-M4: registers, startup code and vector table. */
#ifndef MUJO_MPS2_H
#define MUJO_MPS2_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* CMSDK APB UARTs 0 and 1: Arm, "Cortex-M System Design Kit Technical Reference Manual", 4.3; addresses and interrupts:
 * Arm, "Application Note AN386". */
#define UART0 0x40004000u
#define UART1 0x40005000u
#define UART_DATA(uart) REGISTER(uart)
#define UART_STATE(uart) REGISTER((uart) + 4u)
#define UART_CTRL(uart) REGISTER((uart) + 8u)
#define UART_INTCLEAR(uart) REGISTER((uart) + 12u)
#define UART_BAUDDIV(uart) REGISTER((uart) + 16u)
#define UART_TX_FULL 1u
#define UART_RX_INTERRUPT 2u
#define UART_ON 0xBu /* transmit, receive, interrupt on receipt */

/* Armv7-M Architecture Reference Manual, B3.2 and B3.3; coprocessor access: B3.2.20. */
#define SYST_CSR REGISTER(0xE000E010)
#define SYST_RVR REGISTER(0xE000E014)
#define SYST_CVR REGISTER(0xE000E018)
#define SYST_ON 7u /* processor clock, interrupt, enabled */
#define NVIC_ISER0 REGISTER(0xE000E100)
#define UART0_IRQ 1u /* bit of interrupt 0 */
#define UART1_IRQ 4u /* of interrupt 2 */
#define CPACR REGISTER(0xE000ED88)
#define FPU_ON 0xF00000u

/* Arm, "Application Note AN386", FPGA system control and I/O: counts up at the processor's clock. */
#define COUNTER REGISTER(0x40028018)

#define CPU_HZ 25000000u
#define BAUD 115200u

static inline void uart_begin(uint32_t uart) {
    UART_BAUDDIV(uart) = CPU_HZ / BAUD;
    UART_CTRL(uart) = UART_ON;
}

static inline void uart_send(uint32_t uart, const uint8_t *data, uint32_t size) {
    for (; size; size--, data++) {
        while (UART_STATE(uart) & UART_TX_FULL) {
        }
        UART_DATA(uart) = *data;
    }
}

/* Wait for an interrupt if `idle` holds. Interrupts are masked meanwhile, but a pending one ends wfi, so none is
 * missed. */
#define WAIT_WHILE(idle)                             \
    do {                                             \
        __asm__ volatile("cpsid i" ::: "memory");    \
        if (idle) __asm__ volatile("wfi");           \
        __asm__ volatile("cpsie i" ::: "memory");    \
    } while (0)

int main(void) __attribute__((noinline)); /* so that no code uses the FPU before it is enabled */
extern uint32_t stack_top, bss_start, bss_end;

static inline void on_reset(void) {
    uint32_t *word;
    CPACR |= FPU_ON;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    for (word = &bss_start; word < &bss_end; word++) *word = 0;
    main();
}

static inline void on_fault(void) {
    for (;;) {
    }
}

typedef void (*handler)(void);

/* Armv7-M Architecture Reference Manual, B1.5.3: initial stack pointer, 15 exceptions, interrupts 0 to 2. */
#define VECTORS(on_systick, on_uart0, on_uart1)                                                                      \
    __attribute__((section(".vectors"), used)) static const struct {                                                 \
        uint32_t *stack;                                                                                             \
        handler exceptions[15], interrupts[3];                                                                       \
    } vectors = {&stack_top,                                                                                         \
                 {on_reset, on_fault, on_fault, on_fault, on_fault, on_fault, 0, 0, 0, 0, on_fault, on_fault, 0,     \
                  on_fault, on_systick},                                                                             \
                 {on_uart0, on_fault, on_uart1}}

#endif
