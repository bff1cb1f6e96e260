/* Runs a batch of windows on a bare Cortex-M (QEMU's mps2-an386) and counts the instructions for each.
 *
 * QEMU's loader puts the batch into the board's PSRAM: the number of windows (u32 LE), then the windows. Output on the
 * UART, numbers as u32 LE:
 *
 *   ticks of a loop of LOOP instructions and of one of twice as many, bytes of stack that a run needs,
 *   ticks of each layer in the first window,
 *   for each window: ticks, embedding
 *
 * A tick is one of the board's 25 MHz counter. With -icount shift=6 an instruction of QEMU takes 64 ns, which is 1.6
 * ticks, so that no count is off by more than one; the two loops verify that. */
#include "mujo_network.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* CMSDK APB UART 0: Arm, "Cortex-M System Design Kit Technical Reference Manual", 4.3. */
#define UART_DATA REGISTER(0x40004000)
#define UART_STATE REGISTER(0x40004004)
#define UART_CTRL REGISTER(0x40004008)
#define UART_BAUDDIV REGISTER(0x40004010)

/* Arm, "Application Note AN386": FPGA system control and I/O, counts up at 25 MHz; PSRAM in the memory map. */
#define COUNTER REGISTER(0x40028018)
#define BATCH ((const uint8_t *)0x21000000)

#define LOOP 1000000u
#define PAINT 0x5AC3u
#define PAINTED 4096u /* words of stack below main that are monitored */

static mujo_arena arena;
static int8_t embedding[MUJO_EMBEDDING];

static void send(const void *data, uint32_t size) {
    const uint8_t *bytes = data;
    while (size--) {
        while (UART_STATE & 1u) {
        }
        UART_DATA = *bytes++;
    }
}

static void send_number(uint32_t number) {
    uint8_t bytes[4];
    bytes[0] = (uint8_t)number;
    bytes[1] = (uint8_t)(number >> 8);
    bytes[2] = (uint8_t)(number >> 16);
    bytes[3] = (uint8_t)(number >> 24);
    send(bytes, 4);
}

/* Ticks of 2 * turns instructions. */
static uint32_t loop(uint32_t turns) {
    uint32_t before = COUNTER;
    __asm__ volatile(".syntax unified\n1: subs %0, #1\n bne 1b" : "+l"(turns) : : "cc");
    return COUNTER - before;
}

/* Stack depth of a run in bytes: the lowest painted word that it changes. */
static uint32_t stack_of(const int8_t *window) {
    volatile uint32_t *here, *word;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    for (word = here - PAINTED; word < here; word++) *word = PAINT;
    mujo_network_run(window, 0, embedding, &arena);
    for (word = here - PAINTED; *word == PAINT; word++) {
    }
    return (uint32_t)(here - word) * 4;
}

int main(void) {
    const int8_t *window = (const int8_t *)BATCH + 4;
    uint32_t windows = (uint32_t)BATCH[0] | (uint32_t)BATCH[1] << 8 | (uint32_t)BATCH[2] << 16;
    uint16_t layer;

    UART_BAUDDIV = 16;
    UART_CTRL = 1;
    send_number(loop(LOOP / 2));
    send_number(loop(LOOP));
    send_number(stack_of(window));
    mujo_network_load(window, 0, &arena);
    for (layer = 0; layer < MUJO_LAYERS; layer++) {
        uint32_t before = COUNTER;
        mujo_network_layer(layer, &arena);
        send_number(COUNTER - before);
    }
    for (; windows; windows--, window += MUJO_WINDOW * MUJO_CHANNELS) {
        uint32_t before = COUNTER;
        mujo_network_run(window, 0, embedding, &arena);
        send_number(COUNTER - before);
        send(embedding, sizeof embedding);
    }
    /* Arm, "Semihosting for AArch32 and AArch64": SYS_EXIT with ADP_Stopped_ApplicationExit. */
    __asm__ volatile("movs r0, #0x18\n ldr r1, =0x20026\n bkpt 0xAB" : : : "r0", "r1", "memory");
    for (;;) {
    }
}

extern uint32_t stack_top, bss_start, bss_end;

static void on_reset(void) {
    uint32_t *word;
    for (word = &bss_start; word < &bss_end; word++) *word = 0;
    main();
}

static void on_fault(void) {
    for (;;) {
    }
}

/* Armv7-M Architecture Reference Manual, B1.5.3: initial stack pointer, reset, NMI, faults. */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*exceptions[6])(void);
} vectors = {&stack_top, {on_reset, on_fault, on_fault, on_fault, on_fault, on_fault}};
