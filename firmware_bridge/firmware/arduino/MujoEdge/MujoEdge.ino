/* A board with an IMU as a wearable for mujo-edge: packets over USB serial, and over Bluetooth while subscribed.
 *
 * Copy mujo_packet.h into this folder first. Boards, libraries and wiring: firmware_bridge/firmware/README.md. */
#include <Arduino.h>

#include "mujo_packet.h"
#include "radio.h"
#include "sensor.h"

static const uint8_t MAX_SAMPLES = 5; /* per notification: a latency of at most a tenth of a second at 52 Hz */

static mujo_batch wire, air; /* the same samples: one per frame on the serial line, several per notification */
static uint16_t rate;        /* in 1/10 Hz */
static uint32_t next_us, rest;

/* Advance the time of the next sample. The remainder is carried over, so that the rate is exactly 52 Hz. */
static void advance() {
    next_us += 10000000u / rate;
    rest += 10000000u % rate;
    if (rest >= rate) {
        rest -= rate;
        next_us++;
    }
}

/* Apply the requested rate and MTU between two samples, as the radio may run on another core. */
static void apply_settings() {
    const uint8_t fitting = mujo_samples_per_notification(radio_mtu(), 6);
    const uint8_t samples = fitting < MAX_SAMPLES ? fitting : MAX_SAMPLES;
    if (samples != air.per_packet) {
        mujo_batch_skip(&air, 0);
        air.per_packet = samples;
    }
    if (rate != radio_rate()) {
        rate = radio_rate();
        next_us = micros();
        rest = 0;
    }
}

static void stream(const int16_t *counts, uint32_t tick) {
    uint8_t packet[MUJO_MAX_PACKET], frame[MUJO_MAX_FRAME];
    size_t size = mujo_batch_add(&wire, counts, tick, packet);
    if (Serial && size) Serial.write(frame, mujo_cobs_encode(packet, size, frame));
    if (radio_subscribed() && air.per_packet) {
        size = mujo_batch_add(&air, counts, tick, packet);
        if (size) radio_notify(packet, size);
    } else {
        mujo_batch_skip(&air, 1);
    }
}

void setup() {
    Serial.begin(115200);
    while (!sensor_begin()) delay(500); /* until the sensor is connected */
    mujo_batch_init(&wire, 6, 1);
    mujo_batch_init(&air, 6, 1);
    radio_begin();
    rate = radio_rate();
    next_us = micros();
}

void loop() {
    radio_poll();
    uint32_t now = micros();
    if ((int32_t)(now - next_us) < 0) return;
    for (advance(); (int32_t)(now - next_us) >= 0; advance()) { /* each further sample that is due was missed */
        mujo_batch_skip(&wire, 1);
        mujo_batch_skip(&air, 1);
    }
    int16_t counts[6];
    if (sensor_read(counts)) {
        stream(counts, mujo_tick(micros()));
    } else {
        mujo_batch_skip(&wire, 1);
        mujo_batch_skip(&air, 1);
    }
    apply_settings();
}
