/* The packet of mujo-edge's firmware in C99 (and C++11): no malloc, no libm, any byte order, 8 to 64 bits.
 *
 *   offset  0      head: version << 5 | gyroscope << 4 | samples - 1      1 to 16 samples; version 1, or 5 for a board
 *                  that recognizes on the device and also sends labels (see the end of this file)
 *           1      u16 LE  number of the first sample, modulo 2**16
 *           3      u24 LE  clock at the last sample in 64 us, modulo 2**24
 *           6      int16 LE per sample: ax ay az [gx gy gz], acceleration in 1/200 m/s2, angular rate in 1/900 rad/s
 *           end    u16 LE  CRC-16/CCITT-FALSE of all bytes before
 *
 * Acceleration is with gravity, +9.81 on the axis that points up. Axes are those of a watch: x to 3 o'clock, y to
 * 12 o'clock, z out of the display. The number counts all samples that were taken, sent or not, so that the receiver
 * detects losses. Over Bluetooth a notification is one packet; on a serial line a packet is a COBS frame (Cheshire &
 * Baker 1999) that ends with a zero byte.
 *
 *   static mujo_batch batch;
 *   mujo_batch_init(&batch, 6, 1);                                          six axes, one sample per packet
 *   every 20 ms:
 *       int16_t counts[6] = {mujo_acceleration(ax), ..., mujo_angular_rate(gx), ...};
 *       uint8_t packet[MUJO_MAX_PACKET], frame[MUJO_MAX_FRAME];
 *       size_t size = mujo_batch_add(&batch, counts, mujo_tick(micros()), packet);
 *       if (size) write(frame, mujo_cobs_encode(packet, size, frame));
 *
 * firmware_bridge/protocol/packet.py is the Python twin; both are tested against the same bytes.
 */
#ifndef MUJO_PACKET_H
#define MUJO_PACKET_H

#include <stddef.h>
#include <stdint.h>
#ifndef __cplusplus
#include <stdbool.h>
#endif

#ifndef MUJO_API /* define as empty in one file for functions with external linkage */
#define MUJO_API static inline
#endif

#define MUJO_VERSION 1
#define MUJO_LABELED 5
#define MUJO_MAX_SAMPLES 16
#define MUJO_PACKET_SIZE(samples, channels) (8 + 2 * (samples) * (channels))
#define MUJO_MAX_PACKET MUJO_PACKET_SIZE(MUJO_MAX_SAMPLES, 6)
#define MUJO_FRAME_SIZE(bytes) ((bytes) + (bytes) / 254 + 2) /* longest frame of a packet, with its zero byte */
#define MUJO_MAX_FRAME MUJO_FRAME_SIZE(MUJO_MAX_PACKET)

#define MUJO_G 9.80665               /* m/s2 (CGPM 1901) */
#define MUJO_DEGREE 0.01745329251994 /* rad */

/* Scale for mujo_from_raw; `counts` is the sensor's register value at 1 g, or at 1 deg/s, from its data sheet. */
#define MUJO_SCALE_PER_G(counts) ((uint32_t)(MUJO_G * 200 / (counts) * 65536 + 0.5))
#define MUJO_SCALE_PER_DPS(counts) ((uint32_t)(MUJO_DEGREE * 900 / (counts) * 65536 + 0.5))

/* One packet, decoded. `counts` holds `samples` rows of `channels`. */
typedef struct {
    uint8_t channels, samples;
    uint16_t seq;
    uint32_t tick;
    int16_t counts[MUJO_MAX_SAMPLES * 6];
} mujo_packet;

/* Samples that are collected into a packet. `seq` is the number of the next sample. */
typedef struct {
    uint8_t channels, per_packet, samples;
    uint16_t seq;
    int16_t counts[MUJO_MAX_SAMPLES * 6];
} mujo_batch;

/* `value` in multiples of `unit`, rounded half to even and clipped to int16; NaN becomes the lowest count. */
MUJO_API int16_t mujo_count(float value, double unit) {
    double counts = (double)value / unit, rest;
    int32_t whole;
    if (!(counts > -32768.0)) return INT16_MIN;
    if (counts >= 32767.0) return INT16_MAX;
    whole = (int32_t)counts;
    rest = counts - (double)whole;
    if (rest > 0.5 || (rest == 0.5 && whole % 2 != 0)) whole++;
    if (rest < -0.5 || (rest == -0.5 && whole % 2 != 0)) whole--;
    return (int16_t)whole;
}

/* Acceleration in m/s2 with gravity -> counts. */
MUJO_API int16_t mujo_acceleration(float m_s2) { return mujo_count(m_s2, 1.0 / 200); }

/* Angular rate in rad/s -> counts. */
MUJO_API int16_t mujo_angular_rate(float rad_s) { return mujo_count(rad_s, 1.0 / 900); }

/* A sensor's register -> counts, in integer arithmetic; `scale` is MUJO_SCALE_PER_G(...) or MUJO_SCALE_PER_DPS(...). */
MUJO_API int16_t mujo_from_raw(int16_t raw, uint32_t scale) {
    uint64_t size = ((uint64_t)(raw < 0 ? -(int32_t)raw : raw) * scale + 0x8000u) >> 16;
    if (raw < 0) return size >= 32768u ? INT16_MIN : (int16_t)-(int32_t)size;
    return size >= 32767u ? INT16_MAX : (int16_t)size;
}

/* Microseconds of a 32-bit counter that wraps, such as micros() -> the packet's clock. */
MUJO_API uint32_t mujo_tick(uint32_t us) { return (us >> 6) & 0xFFFFFFu; }

/* CRC-16/CCITT-FALSE: polynomial 0x1021, from 0xFFFF, not reflected; 0x29B1 for "123456789". Continues from `crc`. */
MUJO_API uint16_t mujo_crc16_more(uint16_t crc, const uint8_t *data, size_t size) {
    size_t i;
    uint8_t bit;
    for (i = 0; i < size; i++) {
        crc = (uint16_t)(crc ^ (uint16_t)((uint16_t)data[i] << 8));
        for (bit = 0; bit < 8; bit++) {
            uint16_t low = (uint16_t)((crc & 0x7FFFu) << 1);
            crc = crc & 0x8000u ? low ^ 0x1021u : low;
        }
    }
    return crc;
}

MUJO_API uint16_t mujo_crc16(const uint8_t *data, size_t size) { return mujo_crc16_more(0xFFFF, data, size); }

/* Write samples (`samples` rows of `channels` counts, the first one numbered `seq`, the last one taken at `tick`) to
 * `packet`, which has room for MUJO_PACKET_SIZE(samples, channels). Returns that size; 0 unless there are 1 to 16
 * samples of 3 or 6 channels. */
MUJO_API size_t mujo_encode(const int16_t *counts, uint8_t samples, uint8_t channels, uint16_t seq, uint32_t tick,
                            uint8_t *packet) {
    size_t i, at = 6;
    uint16_t crc;
    if (samples < 1 || samples > MUJO_MAX_SAMPLES || (channels != 3 && channels != 6)) return 0;
    packet[0] = (uint8_t)(MUJO_VERSION << 5 | (channels == 6) << 4 | (samples - 1));
    packet[1] = (uint8_t)(seq & 0xFFu);
    packet[2] = (uint8_t)(seq >> 8);
    packet[3] = (uint8_t)(tick & 0xFFu);
    packet[4] = (uint8_t)(tick >> 8 & 0xFFu);
    packet[5] = (uint8_t)(tick >> 16 & 0xFFu);
    for (i = 0; i < (size_t)samples * channels; i++) {
        uint16_t bits = (uint16_t)counts[i];
        packet[at++] = (uint8_t)(bits & 0xFFu);
        packet[at++] = (uint8_t)(bits >> 8);
    }
    crc = mujo_crc16(packet, at);
    packet[at++] = (uint8_t)(crc & 0xFFu);
    packet[at++] = (uint8_t)(crc >> 8);
    return at;
}

/* A 16-bit little-endian value. */
MUJO_API uint16_t mujo_u16(const uint8_t *data) { return (uint16_t)(data[0] | (uint16_t)((uint16_t)data[1] << 8)); }

/* Decode the packet in `data`. Returns false, and leaves `packet` unchanged, for anything else. */
MUJO_API bool mujo_decode(const uint8_t *data, size_t size, mujo_packet *packet) {
    uint8_t samples, channels;
    size_t i;
    if (size < MUJO_PACKET_SIZE(1, 3)) return false;
    if (data[0] >> 5 != MUJO_VERSION && data[0] >> 5 != MUJO_LABELED) return false;
    samples = (uint8_t)((data[0] & 15) + 1);
    channels = data[0] & 16 ? 6 : 3;
    if (size != (size_t)MUJO_PACKET_SIZE(samples, channels)) return false;
    if (mujo_crc16(data, size - 2) != mujo_u16(data + size - 2)) return false;
    packet->channels = channels;
    packet->samples = samples;
    packet->seq = mujo_u16(data + 1);
    packet->tick = mujo_u16(data + 3) | (uint32_t)data[5] << 16;
    for (i = 0; i < (size_t)samples * channels; i++) {
        uint16_t bits = mujo_u16(data + 6 + 2 * i);
        packet->counts[i] = (int16_t)(bits < 0x8000u ? (int32_t)bits : (int32_t)bits - 0x10000);
    }
    return true;
}

/* Write bytes as a COBS frame with its zero byte to `frame`, which has room for MUJO_FRAME_SIZE(size). Returns its
 * size. */
MUJO_API size_t mujo_cobs_encode(const uint8_t *data, size_t size, uint8_t *frame) {
    size_t i, code = 0, at = 1; /* code: offset of the length of this block */
    for (i = 0; i < size; i++) {
        if (data[i] != 0) frame[at++] = data[i];
        if (data[i] == 0 || (at - code == 255 && i + 1 < size)) {
            frame[code] = (uint8_t)(at - code);
            code = at++;
        }
    }
    frame[code] = (uint8_t)(at - code);
    frame[at++] = 0;
    return at;
}

/* Decode a COBS frame without its zero byte to `data`, which has room for `size` and may be `frame` itself. Returns
 * false for an invalid frame. */
MUJO_API bool mujo_cobs_decode(const uint8_t *frame, size_t size, uint8_t *data, size_t *decoded) {
    size_t i = 0, at = 0;
    while (i < size) {
        uint8_t code = frame[i], left;
        if (code == 0 || code > size - i) return false;
        for (i++, left = code; left > 1; left--) {
            if (frame[i] == 0) return false;
            data[at++] = frame[i++];
        }
        if (code < 255 && i < size) data[at++] = 0;
    }
    *decoded = at;
    return true;
}

/* Start a batch: `channels` 3 or 6, `per_packet` 1 to MUJO_MAX_SAMPLES samples per packet; other values are clamped. */
MUJO_API void mujo_batch_init(mujo_batch *batch, uint8_t channels, uint8_t per_packet) {
    batch->channels = channels == 6 ? 6 : 3;
    batch->per_packet = per_packet < 1 ? 1 : per_packet > MUJO_MAX_SAMPLES ? MUJO_MAX_SAMPLES : per_packet;
    batch->samples = 0;
    batch->seq = 0;
}

/* Add a sample of `channels` counts, taken at `tick`. If it completes a packet, writes that and returns its size, else
 * returns 0. */
MUJO_API size_t mujo_batch_add(mujo_batch *batch, const int16_t *counts, uint32_t tick, uint8_t *packet) {
    uint8_t i, samples;
    for (i = 0; i < batch->channels; i++) batch->counts[batch->samples * batch->channels + i] = counts[i];
    batch->samples++;
    batch->seq++;
    if (batch->samples < batch->per_packet) return 0;
    samples = batch->samples;
    batch->samples = 0;
    return mujo_encode(batch->counts, samples, batch->channels, (uint16_t)(batch->seq - samples), tick, packet);
}

/* Count samples that were taken but are not sent, or were missed; the samples waiting in the batch are dropped. */
MUJO_API void mujo_batch_skip(mujo_batch *batch, uint16_t samples) {
    batch->samples = 0;
    batch->seq = (uint16_t)(batch->seq + samples);
}

/* Number of samples that fit into a notification, which holds the ATT MTU less 3 bytes (Core specification, Vol 3, Part
 * F, 3.4.7.1); at most MUJO_MAX_SAMPLES, 0 if none fits. */
MUJO_API uint8_t mujo_samples_per_notification(uint16_t mtu, uint8_t channels) {
    uint16_t samples;
    if (mtu < 3 + MUJO_PACKET_SIZE(1, channels)) return 0;
    samples = (uint16_t)((mtu - 3 - 8) / (2 * channels));
    return (uint8_t)(samples > MUJO_MAX_SAMPLES ? MUJO_MAX_SAMPLES : samples);
}

/* ---- Predictions of a board that recognizes on the device; layout: firmware_bridge/protocol/predictions.py ---- */

#define MUJO_LABEL_VERSION 6
#define MUJO_DEVICE_MODEL_VERSION 7
#define MUJO_LABEL_PACKET 16
#define MUJO_PIECE 100
#define MUJO_DEVICE_MODEL_PACKET (7 + MUJO_PIECE)

/* Description of the model on the device, in UTF-8: `labels` are `classes` names, the last one "unknown"; there is a
 * label every `hop_ms`; samples have 3 or 6 `channels`; `samples` says whether they are sent too. */
typedef struct {
    const char *model, *label_set;
    const char *const *labels;
    uint8_t classes, channels;
    uint16_t hop_ms;
    bool samples;
} mujo_device_model;

/* Writer of the description's text: bytes `from` to `to` of it go to `out`, if that is not null. */
typedef struct {
    uint8_t *out;
    uint16_t at, from, to, crc;
} mujo_text;

MUJO_API void mujo_text_add(mujo_text *text, const char *part) {
    for (; *part; part++, text->at++) {
        uint8_t byte = (uint8_t)*part;
        text->crc = mujo_crc16_more(text->crc, &byte, 1);
        if (text->out && text->at >= text->from && text->at < text->to) text->out[text->at - text->from] = byte;
    }
}

/* The text that is sent: a line each for the model, the label set, the milliseconds and every label. */
MUJO_API mujo_text mujo_text_of(const mujo_device_model *info, uint8_t *out, uint16_t from) {
    mujo_text text;
    char digits[6];
    uint8_t i = 5;
    uint16_t hop = info->hop_ms;
    text.out = out;
    text.at = 0;
    text.from = from;
    text.to = (uint16_t)(from + MUJO_PIECE);
    text.crc = 0xFFFF;
    digits[i] = 0;
    do {
        digits[--i] = (char)('0' + hop % 10);
        hop = (uint16_t)(hop / 10);
    } while (hop);
    mujo_text_add(&text, info->model);
    mujo_text_add(&text, "\n");
    mujo_text_add(&text, info->label_set);
    mujo_text_add(&text, "\n");
    mujo_text_add(&text, digits + i);
    for (i = 0; i < info->classes; i++) {
        mujo_text_add(&text, "\n");
        mujo_text_add(&text, info->labels[i]);
    }
    return text;
}

/* Checksum by which predictions refer to this description. */
MUJO_API uint16_t mujo_device_model_check(const mujo_device_model *info) { return mujo_text_of(info, 0, 0).crc; }

/* Write a little-endian value of `bytes` bytes. */
MUJO_API void mujo_put(uint8_t *data, uint32_t value, uint8_t bytes) {
    for (; bytes; bytes--, value >>= 8) *data++ = (uint8_t)(value & 0xFFu);
}

/* Append the checksum. Returns the new size. */
MUJO_API size_t mujo_append_crc(uint8_t *packet, size_t size) {
    mujo_put(packet + size, mujo_crc16(packet, size), 2);
    return size + 2;
}

/* Write piece `number` of the description to `packet`, which has room for MUJO_DEVICE_MODEL_PACKET. Returns its size, 0
 * if there is no such piece. Send all pieces in turn, ten per second and repeatedly: a computer may connect at any
 * time. */
MUJO_API size_t mujo_encode_device_model(const mujo_device_model *info, uint8_t number, uint8_t *packet) {
    uint16_t from = (uint16_t)(number * MUJO_PIECE);
    mujo_text text = mujo_text_of(info, packet + 5, from);
    if (from >= text.at || text.at > 255 * MUJO_PIECE) return 0;
    packet[0] = (uint8_t)(MUJO_DEVICE_MODEL_VERSION << 5 | (info->channels == 6) << 4 | info->samples << 3);
    mujo_put(packet + 1, text.crc, 2);
    packet[3] = number;
    packet[4] = (uint8_t)((text.at + MUJO_PIECE - 1) / MUJO_PIECE);
    return mujo_append_crc(packet, (size_t)(5 + (text.at < text.to ? text.at - from : MUJO_PIECE)));
}

/* Write a label to `packet`, which has room for MUJO_LABEL_PACKET. Returns its size. `number` is that of the last
 * sample used, `tick` the clock at the end of the window; `raw` is the label of this window alone, `score` the
 * probability of `label`, `took` the inference time in units of 64 us. */
MUJO_API size_t mujo_encode_label(uint16_t check, uint16_t number, uint32_t tick, uint8_t label, uint8_t raw,
                                  float score, uint32_t took, uint8_t *packet) {
    packet[0] = MUJO_LABEL_VERSION << 5;
    mujo_put(packet + 1, number, 2);
    mujo_put(packet + 3, tick, 3);
    mujo_put(packet + 6, check, 2);
    packet[8] = label;
    packet[9] = raw;
    mujo_put(packet + 10, score > 0 ? score < 1 ? (uint32_t)(score * 65535 + 0.5f) : 65535u : 0, 2);
    mujo_put(packet + 12, took < 65535u ? took : 65535u, 2);
    return mujo_append_crc(packet, 14);
}

/* As mujo_encode_label, for a gap that began at `start`. `reason`: 0 missing, 1 invalid, 2 clock, 3 constant. */
MUJO_API size_t mujo_encode_gap(uint16_t check, uint16_t number, uint32_t tick, uint32_t start, uint8_t reason,
                                uint8_t *packet) {
    packet[0] = (uint8_t)(MUJO_LABEL_VERSION << 5 | 1 << 4 | (reason & 3));
    mujo_put(packet + 1, number, 2);
    mujo_put(packet + 3, tick, 3);
    mujo_put(packet + 6, check, 2);
    mujo_put(packet + 8, start, 3);
    mujo_put(packet + 11, 0, 3);
    return mujo_append_crc(packet, 14);
}

/* Mark a packet of mujo_encode or mujo_batch_add as one of a board that also sends labels. */
MUJO_API void mujo_mark_labeled(uint8_t *packet, size_t size) {
    packet[0] = (uint8_t)((packet[0] & 31) | MUJO_LABELED << 5);
    mujo_append_crc(packet, size - 2);
}

#endif
