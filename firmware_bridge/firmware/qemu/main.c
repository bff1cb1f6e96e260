/* A bare Cortex-M4 (QEMU's mps2-an386) that streams a motion over its UART: COBS frames of mujo_packet.h, one sample of
 * six axes each. SysTick wakes it when a sample is due; time is read from the board's cycle counter, so that samples of
 * interrupts that a busy host of QEMU delays are sent late and not lost.
 *
 * The motion is a table in motion.h, which firmware_bridge/simulator/qemu.py writes: MOTION_ROWS rows of packet counts,
 * MOTION_RATE rows per second, played in a loop.
 *
 * Commands, one per line:
 *   pause        stop sending; the sensor, its sample number and its clock continue
 *   go           resume sending
 *   rate <Hz>    sampling rate, 2 to 1000; initially 50
 * Other lines are ignored. */
#include "motion.h"
#include "mps2.h"
#include "mujo_packet.h"

#define START_RATE 50u
#define LINE 16u
#define RING 64u /* a power of two */

static volatile uint8_t ring[RING];
static volatile uint32_t received;

static void on_systick(void) {} /* only wakes the processor */

static void on_uart(void) {
    UART_INTCLEAR(UART0) = UART_RX_INTERRUPT;
    ring[received % RING] = (uint8_t)UART_DATA(UART0);
    received++;
}

/* The motion at `cycles` of the processor, interpolated between rows of the table. */
static void sense(uint64_t cycles, int16_t counts[6]) {
    const uint32_t step = CPU_HZ / MOTION_RATE;
    uint32_t row = (uint32_t)(cycles / step % MOTION_ROWS);
    int32_t part = (int32_t)(cycles % step / (step / 1000)); /* thousandths */
    const int16_t *a = motion[row], *b = motion[(row + 1) % MOTION_ROWS];
    int i;
    for (i = 0; i < 6; i++) counts[i] = (int16_t)(a[i] + (b[i] - a[i]) * part / 1000);
}

static bool same(const char *line, const char *word) {
    while (*word && *line == *word) {
        line++;
        word++;
    }
    return *line == *word;
}

/* The number after "rate ", 0 if there is none. */
static uint32_t rate_in(const char *line) {
    const char *word = "rate ";
    uint32_t rate = 0;
    for (; *word; word++, line++) {
        if (*line != *word) return 0;
    }
    for (; *line >= '0' && *line <= '9' && rate < 1000000u; line++) rate = rate * 10 + (uint32_t)(*line - '0');
    return *line ? 0 : rate;
}

int main(void) {
    static mujo_batch batch;
    static char line[LINE];
    uint32_t period = CPU_HZ / START_RATE, last, read = 0, length = 0; /* last: the counter at the last sample */
    uint64_t now = 0; /* cycles, at the last sample */
    bool sending = true;

    mujo_batch_init(&batch, 6, 1);
    uart_begin(UART0);
    NVIC_ISER0 = UART0_IRQ;
    last = COUNTER;
    SYST_RVR = period - 1;
    SYST_CVR = 0;
    SYST_CSR = SYST_ON;

    for (;;) {
        while (COUNTER - last >= period) {
            int16_t counts[6];
            uint8_t packet[MUJO_MAX_PACKET], frame[MUJO_MAX_FRAME];
            size_t size;
            last += period;
            now += period;
            if (!sending) {
                mujo_batch_skip(&batch, 1);
                continue;
            }
            sense(now, counts);
            size = mujo_batch_add(&batch, counts, mujo_tick((uint32_t)(now / (CPU_HZ / 1000000))), packet);
            uart_send(UART0, frame, mujo_cobs_encode(packet, size, frame));
        }
        while (read != received) {
            char c = (char)ring[read++ % RING];
            if (c != '\n' && c != '\r') {
                line[length] = c;
                length += length < LINE - 1;
                continue;
            }
            line[length < LINE - 1 ? length : 0] = 0; /* a line that is too long counts as empty */
            length = 0;
            if (same(line, "pause")) sending = false;
            if (same(line, "go")) sending = true;
            if (rate_in(line) >= 2 && rate_in(line) <= 1000) {
                uint32_t since = COUNTER - last;
                now += since;
                last += since;
                period = CPU_HZ / rate_in(line);
                SYST_RVR = period - 1;
                SYST_CVR = 0;
            }
        }
        WAIT_WHILE(COUNTER - last < period && read == received);
    }
}

VECTORS(on_systick, on_uart, on_fault);
