/* A wearable that recognizes on the device, as a bare Cortex-M4 (QEMU's mps2-an386): it receives samples as COBS frames
 * of mujo_packet.h on UART 1, as from a sensor, and sends labels on UART 0, with the samples too unless FORWARD is 0.
 *
 * The include path has src of an artifact of `mujo-edge export --target mcu`. An interrupt puts received bytes into a
 * ring buffer, also while the network runs. */
#include "mps2.h"
#include "mujo.h"

#ifndef FORWARD
#define FORWARD 1
#endif
#ifndef SENSOR_HZ
#define SENSOR_HZ 50
#endif

#define RING 1024u /* a power of two: most of a second at 50 Hz */
#define DESCRIPTION_EVERY 5 /* packets of samples between two pieces of the model's description */
#define UNIT_CYCLES (CPU_HZ / 15625u) /* cycles in a unit of the packets' clock, 64 us */

static volatile uint8_t ring[RING];
static volatile uint32_t received;

static void on_sensor(void) {
    UART_INTCLEAR(UART1) = UART_RX_INTERRUPT;
    ring[received % RING] = (uint8_t)UART_DATA(UART1);
    received++;
}

static mujo recognizer;
static mujo_device_model device_model;
static uint16_t check;
static int64_t clock_us;

static void send(const uint8_t *packet, size_t size) {
    uint8_t frame[MUJO_MAX_FRAME];
    uart_send(UART0, frame, (uint32_t)mujo_cobs_encode(packet, size, frame));
}

/* Send the next piece of the model's description. */
static void send_device_model(void) {
    static uint8_t piece;
    uint8_t packet[MUJO_DEVICE_MODEL_PACKET];
    size_t size = mujo_encode_device_model(&device_model, piece, packet);
    piece = (uint8_t)(size ? piece + 1 : 0);
    if (size) send(packet, size);
}

static uint32_t tick_of(int64_t us) {
    /* The recognizer's time continues where the sensor's clock restarted. */
    return (uint32_t)((us - recognizer.last_us + recognizer.device_us) / 64) & 0xFFFFFFu;
}

static void take_sample(uint16_t number, int64_t t_us, const int16_t *counts) {
    uint8_t packet[MUJO_LABEL_PACKET];
    mujo_event event;
    uint32_t began = COUNTER;
    mujo_kind kind = mujo_push_counts(&recognizer, t_us, counts, &event);
    if (kind == MUJO_LABEL) {
        send(packet, mujo_encode_label(check, number, tick_of(event.end_us), event.label, event.raw_label, event.score,
                                       (COUNTER - began) / UNIT_CYCLES, packet));
    }
    if (kind == MUJO_GAP) {
        send(packet, mujo_encode_gap(check, number, tick_of(event.end_us), tick_of(event.start_us),
                                     (uint8_t)event.reason, packet));
    }
}

static bool begin(const mujo_packet *packet) {
    const mujo_label_set *labels = &MUJO_LABELS;
    device_model.model = MUJO_BUNDLE;
    device_model.label_set = labels->name;
    device_model.labels = labels->labels;
    device_model.classes = labels->classes;
    device_model.channels = packet->channels;
    device_model.hop_ms = (uint16_t)(MUJO_HOP * (uint32_t)MUJO_INTERVAL_US / 1000);
    device_model.samples = FORWARD;
    check = mujo_device_model_check(&device_model);
    clock_us = (int64_t)packet->tick * 64;
    return mujo_init(&recognizer, labels, packet->channels, SENSOR_HZ);
}

static void take_packet(uint8_t *data, size_t size) {
    static bool begun;
    static uint8_t until_description;
    mujo_packet packet;
    int32_t ticks;
    uint8_t i;
    if (!mujo_decode(data, size, &packet)) return;
    if (!begun) begun = begin(&packet);
    if (!begun || packet.channels != device_model.channels) return;
    ticks = (int32_t)((packet.tick - (uint32_t)(clock_us / 64)) & 0xFFFFFFu);
    clock_us += (int64_t)(ticks < 0x800000 ? ticks : ticks - 0x1000000) * 64; /* the nearest time with that clock */
    if (FORWARD) {
        mujo_mark_labeled(data, size);
        send(data, size);
    }
    for (i = 0; i < packet.samples; i++) {
        int64_t before_us = (int64_t)(packet.samples - 1 - i) * (1000000 / SENSOR_HZ);
        take_sample((uint16_t)(packet.seq + i), clock_us - before_us, packet.counts + i * packet.channels);
    }
    if (until_description-- == 0) {
        until_description = DESCRIPTION_EVERY - 1;
        send_device_model();
    }
}

int main(void) {
    static uint8_t frame[MUJO_MAX_FRAME];
    uint32_t read = 0;
    size_t length = 0, size;
    uart_begin(UART0);
    uart_begin(UART1);
    NVIC_ISER0 = UART1_IRQ;
    for (;;) {
        while (read != received) {
            uint8_t byte = ring[read++ % RING];
            if (byte) {
                if (length < sizeof frame) frame[length] = byte;
                length++;
                continue;
            }
            if (length <= sizeof frame && mujo_cobs_decode(frame, length, frame, &size)) take_packet(frame, size);
            length = 0;
        }
        WAIT_WHILE(read == received);
    }
}

VECTORS(on_fault, on_fault, on_sensor);
