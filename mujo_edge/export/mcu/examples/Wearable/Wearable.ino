// Recognizes on an Arduino Nano 33 BLE Sense (library Arduino_LSM9DS1) and sends the labels over USB:
// mujo-edge stream --serial auto shows them. Samples that are missed while the network runs are interpolated.
#include <Arduino_LSM9DS1.h>
#include <mujo.h>

static const uint32_t PERIOD_US = MUJO_INTERVAL_US;

static mujo recognizer;
static mujo_device_model device_model;
static uint16_t check, number;  // number of the next sample
static uint32_t due_us;
static int64_t now_us;

static void send(const uint8_t *packet, size_t size) {
    uint8_t frame[MUJO_FRAME_SIZE(MUJO_DEVICE_MODEL_PACKET)];
    Serial.write(frame, mujo_cobs_encode(packet, size, frame));
}

void setup() {
    Serial.begin(115200);
    if (!IMU.begin() || !mujo_init(&recognizer, &$set, 6, 1e6f / PERIOD_US)) {
        for (;;) delay(1000);
    }
    device_model.model = MUJO_BUNDLE;
    device_model.label_set = recognizer.labels->name;
    device_model.labels = recognizer.labels->labels;
    device_model.classes = recognizer.labels->classes;
    device_model.channels = 6;
    device_model.hop_ms = MUJO_HOP * PERIOD_US / 1000;
    device_model.samples = false;
    check = mujo_device_model_check(&device_model);
    due_us = micros();
}

void loop() {
    static uint8_t piece;
    uint8_t packet[MUJO_DEVICE_MODEL_PACKET];
    mujo_event event;
    float x[6];
    if (micros() - due_us < PERIOD_US) return;
    do {
        due_us += PERIOD_US;
        number++;
    } while (micros() - due_us >= PERIOD_US);
    if (!IMU.readAcceleration(x[0], x[1], x[2]) || !IMU.readGyroscope(x[3], x[4], x[5])) return;
    // Mounting on the wrist: swap and negate axes until x points to 3 o'clock, y to 12, z out of the display.
    for (int i = 0; i < 3; i++) {
        x[i] *= float(MUJO_G);           // g
        x[3 + i] *= float(MUJO_DEGREE);  // deg/s
    }
    now_us = mujo_time(now_us, due_us);
    const uint32_t start_us = micros();
    switch (mujo_push(&recognizer, now_us, x, &event)) {
        case MUJO_LABEL:
            send(packet, mujo_encode_label(check, number, mujo_tick(uint32_t(event.end_us)), event.label,
                                           event.raw_label, event.score, (micros() - start_us) / 64, packet));
            break;
        case MUJO_GAP:
            send(packet, mujo_encode_gap(check, number, mujo_tick(uint32_t(event.end_us)),
                                         mujo_tick(uint32_t(event.start_us)), uint8_t(event.reason), packet));
            break;
        case MUJO_NOTHING: break;
    }
    if (number % 5 == 0) {
        const size_t size = mujo_encode_device_model(&device_model, piece, packet);
        piece = uint8_t(size ? piece + 1 : 0);
        if (size) send(packet, size);
    }
}
