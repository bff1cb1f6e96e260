/* The packet of mujo-edge's firmware in C99 (and C++11): no malloc, no libm, any byte order, 8 to 64 bits.
 *
 *   offset  0      head: version << 5 | gyroscope << 4 | samples - 1      1 to 16 samples; version 1, or 5 of a board
 *                  that recognizes by itself and sends labels as well (at the end of this file)
 *           1      u16 LE  number of the first sample, modulo 2**16
 *           3      u24 LE  clock at the last sample in 64 us, modulo 2**24
 *           6      int16 LE per sample: ax ay az [gx gy gz], acceleration in 1/200 m/s2, angular rate in 1/900 rad/s
 *           end    u16 LE  CRC-16/CCITT-FALSE of all before
 *
 * Acceleration is with gravity, +9.81 on the axis that points up. Axes are those of a watch: x to 3 o'clock, y to
 * 12 o'clock, z out of the display. The number counts samples that were taken, sent or not: so the other side knows
 * what was lost. Over Bluetooth a notification is one packet; on a serial line a packet is a COBS frame (Cheshire &
 * Baker 1999) that ends with a zero byte.
 *
 *   static mujo_batch batch;
 *   mujo_batch_init(&batch, 6, 1);                                          six axes, one sample a packet
 *   every 20 ms:
 *       int16_t counts[6] = {mujo_acceleration(ax), ..., mujo_angular_rate(gx), ...};
 *       uint8_t packet[MUJO_MAX_PACKET], frame[MUJO_MAX_FRAME];
 *       size_t size = mujo_batch_add(&batch, counts, mujo_tick(micros()), packet);
 *       if (size) write(frame, mujo_cobs_encode(packet, size, frame));
 *
 * firmware_bridge/protocol/packet.py is its Python twin; both are tested against the same bytes.
 */
#ifndef MUJO_PACKET_H
#define MUJO_PACKET_H

#include <stddef.h>
#include <stdint.h>
#ifndef __cplusplus
#include <stdbool.h>
#endif

#ifndef MUJO_API /* define it empty in one file to get functions that other files and languages can call */
#define MUJO_API static inline
#endif

#define MUJO_VERSION 1
#define MUJO_LABELED 5
#define MUJO_MAX_SAMPLES 16
#define MUJO_PACKET_SIZE(samples, channels) (8 + 2 * (samples) * (channels))
#define MUJO_MAX_PACKET MUJO_PACKET_SIZE(MUJO_MAX_SAMPLES, 6)
#define MUJO_FRAME_SIZE(bytes) ((bytes) + (bytes) / 254 + 2) /* longest frame of so many bytes, with its zero */
#define MUJO_MAX_FRAME MUJO_FRAME_SIZE(MUJO_MAX_PACKET)

#define MUJO_G 9.80665               /* m/s2 (CGPM 1901) */
#define MUJO_DEGREE 0.01745329251994 /* rad */

/* Scale for mujo_from_raw, from the data sheet: what the sensor's register shows at 1 g, or at 1 degree a second. */
#define MUJO_SCALE_PER_G(counts) ((uint32_t)(MUJO_G * 200 / (counts) * 65536 + 0.5))
#define MUJO_SCALE_PER_DPS(counts) ((uint32_t)(MUJO_DEGREE * 900 / (counts) * 65536 + 0.5))

/* One packet, decoded. `counts` holds `samples` rows of `channels`. */
typedef struct {
    uint8_t channels, samples;
    uint16_t seq;
    uint32_t tick;
    int16_t counts[MUJO_MAX_SAMPLES * 6];
} mujo_packet;

/* Samples on their way into a packet. `seq` is the number of the next sample to be added. */
typedef struct {
    uint8_t channels, per_packet, samples;
    uint16_t seq;
    int16_t counts[MUJO_MAX_SAMPLES * 6];
} mujo_batch;

/* Value in units of `unit`, rounded half to even, clipped to int16; not-a-number becomes the lowest count. */
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

/* Register of a sensor -> counts, in whole numbers; `scale` is MUJO_SCALE_PER_G(...) or MUJO_SCALE_PER_DPS(...). */
MUJO_API int16_t mujo_from_raw(int16_t raw, uint32_t scale) {
    uint64_t size = ((uint64_t)(raw < 0 ? -(int32_t)raw : raw) * scale + 0x8000u) >> 16;
    if (raw < 0) return size >= 32768u ? INT16_MIN : (int16_t)-(int32_t)size;
    return size >= 32767u ? INT16_MAX : (int16_t)size;
}

/* Microseconds of a 32-bit counter that wraps, such as micros() -> the packet's clock. */
MUJO_API uint32_t mujo_tick(uint32_t us) { return (us >> 6) & 0xFFFFFFu; }

/* CRC-16/CCITT-FALSE: polynomial 0x1021, from 0xFFFF, not reflected; 0x29B1 for the text 123456789. `more` goes on. */
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

/* Samples (`samples` rows of `channels` counts, the first one numbered `seq`, the last one taken at `tick`) into
 * `packet`, which has room for MUJO_PACKET_SIZE(samples, channels). Returns that size; 0 if there are not 1 to 16
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

/* 16 bits, little endian. */
MUJO_API uint16_t mujo_u16(const uint8_t *data) { return (uint16_t)(data[0] | (uint16_t)((uint16_t)data[1] << 8)); }

/* The packet in `data`. False, with `packet` as it was, for anything that is none. */
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

/* Bytes -> COBS frame with its zero, in `frame`, which has room for MUJO_FRAME_SIZE(size). Returns its size. */
MUJO_API size_t mujo_cobs_encode(const uint8_t *data, size_t size, uint8_t *frame) {
    size_t i, code = 0, at = 1; /* code: where the length of this block goes */
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

/* COBS frame without its zero -> bytes, in `data`, which has room for `size` and may be `frame` itself. False for what
 * is no frame. */
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

/* Start a batch: `channels` 3 or 6, `per_packet` 1 to MUJO_MAX_SAMPLES samples a packet; others are brought into that
 * range. */
MUJO_API void mujo_batch_init(mujo_batch *batch, uint8_t channels, uint8_t per_packet) {
    batch->channels = channels == 6 ? 6 : 3;
    batch->per_packet = per_packet < 1 ? 1 : per_packet > MUJO_MAX_SAMPLES ? MUJO_MAX_SAMPLES : per_packet;
    batch->samples = 0;
    batch->seq = 0;
}

/* One more sample, of `channels` counts, taken at `tick`. When it completes a packet: writes it and returns its size,
 * else 0. */
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

/* Pass over samples that were taken but are not sent, or were missed; those that wait in the batch go with them. */
MUJO_API void mujo_batch_skip(mujo_batch *batch, uint16_t samples) {
    batch->samples = 0;
    batch->seq = (uint16_t)(batch->seq + samples);
}

/* How many samples fit a notification: the ATT MTU less 3 bytes (Core specification, Vol 3, Part F, 3.4.7.1); at most
 * MUJO_MAX_SAMPLES, 0 if not even one does. */
MUJO_API uint8_t mujo_samples_per_notification(uint16_t mtu, uint8_t channels) {
    uint16_t samples;
    if (mtu < 3 + MUJO_PACKET_SIZE(1, channels)) return 0;
    samples = (uint16_t)((mtu - 3 - 8) / (2 * channels));
    return (uint8_t)(samples > MUJO_MAX_SAMPLES ? MUJO_MAX_SAMPLES : samples);
}

/* ---- Labels of a board that recognizes by itself; see firmware_bridge/protocol/predictions.py for the bytes ---- */

#define MUJO_LABEL_VERSION 6
#define MUJO_NAMES_VERSION 7
#define MUJO_LABEL_PACKET 16
#define MUJO_PIECE 100
#define MUJO_NAMES_PACKET (7 + MUJO_PIECE)

/* What the labels are called, in UTF-8: `labels` are `classes` names of which the last is "unknown"; a label comes
 * every `hop_ms`; samples are of 3 or 6 `channels`, and sent as well or not. */
typedef struct {
    const char *model, *label_set;
    const char *const *labels;
    uint8_t classes, channels;
    uint16_t hop_ms;
    bool samples;
} mujo_names;

/* Where the text of the names goes: bytes `from` to `to` of it are kept, if `kept` is somewhere. */
typedef struct {
    uint8_t *kept;
    uint16_t at, from, to, crc;
} mujo_text;

MUJO_API void mujo_text_add(mujo_text *text, const char *part) {
    for (; *part; part++, text->at++) {
        uint8_t byte = (uint8_t)*part;
        text->crc = mujo_crc16_more(text->crc, &byte, 1);
        if (text->kept && text->at >= text->from && text->at < text->to) text->kept[text->at - text->from] = byte;
    }
}

/* The text as it is sent: a line each for the model, the label set, the milliseconds and every label. */
MUJO_API mujo_text mujo_text_of(const mujo_names *names, uint8_t *kept, uint16_t from) {
    mujo_text text;
    char digits[6];
    uint8_t i = 5;
    uint16_t hop = names->hop_ms;
    text.kept = kept;
    text.at = 0;
    text.from = from;
    text.to = (uint16_t)(from + MUJO_PIECE);
    text.crc = 0xFFFF;
    digits[i] = 0;
    do {
        digits[--i] = (char)('0' + hop % 10);
        hop = (uint16_t)(hop / 10);
    } while (hop);
    mujo_text_add(&text, names->model);
    mujo_text_add(&text, "\n");
    mujo_text_add(&text, names->label_set);
    mujo_text_add(&text, "\n");
    mujo_text_add(&text, digits + i);
    for (i = 0; i < names->classes; i++) {
        mujo_text_add(&text, "\n");
        mujo_text_add(&text, names->labels[i]);
    }
    return text;
}

/* By which labels tell the names that they belong to. */
MUJO_API uint16_t mujo_names_check(const mujo_names *names) { return mujo_text_of(names, 0, 0).crc; }

/* 16 or 24 bits, little endian, and the checksum at the end. */
MUJO_API void mujo_put(uint8_t *data, uint32_t value, uint8_t bytes) {
    for (; bytes; bytes--, value >>= 8) *data++ = (uint8_t)(value & 0xFFu);
}

MUJO_API size_t mujo_closed(uint8_t *packet, size_t size) {
    mujo_put(packet + size, mujo_crc16(packet, size), 2);
    return size + 2;
}

/* Piece `number` of the names into `packet`, which has room for MUJO_NAMES_PACKET; returns its size, 0 where there is
 * no such piece. Send one after the other, from 0 on and again, ten a second: a computer may come at any time. */
MUJO_API size_t mujo_encode_names(const mujo_names *names, uint8_t number, uint8_t *packet) {
    uint16_t from = (uint16_t)(number * MUJO_PIECE);
    mujo_text text = mujo_text_of(names, packet + 5, from);
    if (from >= text.at || text.at > 255 * MUJO_PIECE) return 0;
    packet[0] = (uint8_t)(MUJO_NAMES_VERSION << 5 | (names->channels == 6) << 4 | names->samples << 3);
    mujo_put(packet + 1, text.crc, 2);
    packet[3] = number;
    packet[4] = (uint8_t)((text.at + MUJO_PIECE - 1) / MUJO_PIECE);
    return mujo_closed(packet, (size_t)(5 + (text.at < text.to ? text.at - from : MUJO_PIECE)));
}

/* A label into `packet`, which has room for MUJO_LABEL_PACKET; returns its size. `number` is that of the last sample
 * that was taken into account, `tick` the clock at the end of the window; `raw` is the label of this window alone,
 * `score` the probability of `label`, `took` the time that the recognition took in units of 64 us. */
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
    return mujo_closed(packet, 14);
}

/* The same for a gap that began at `start`. `reason`: 0 missing, 1 invalid, 2 clock, 3 constant. */
MUJO_API size_t mujo_encode_gap(uint16_t check, uint16_t number, uint32_t tick, uint32_t start, uint8_t reason,
                                uint8_t *packet) {
    packet[0] = (uint8_t)(MUJO_LABEL_VERSION << 5 | 1 << 4 | (reason & 3));
    mujo_put(packet + 1, number, 2);
    mujo_put(packet + 3, tick, 3);
    mujo_put(packet + 6, check, 2);
    mujo_put(packet + 8, start, 3);
    mujo_put(packet + 11, 0, 3);
    return mujo_closed(packet, 14);
}

/* Samples that mujo_encode or mujo_batch_add made, as those of a board that sends labels as well. */
MUJO_API void mujo_mark_labeled(uint8_t *packet, size_t size) {
    packet[0] = (uint8_t)((packet[0] & 31) | MUJO_LABELED << 5);
    mujo_closed(packet, size - 2);
}

#endif
