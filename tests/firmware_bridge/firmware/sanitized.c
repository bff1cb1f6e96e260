/* Lines of "e <samples> <channels> <seq> <tick> <count>...", "d <hex>" (packet) and "c <hex>" (frame) -> the
 * results of the header as lines. Every buffer has the exact size, so that the sanitizers detect overruns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mujo_packet.h"

static void print_hex(const uint8_t *data, size_t size) {
    size_t i;
    for (i = 0; i < size; i++) printf("%02x", (unsigned)data[i]);
    putchar('\n');
}

static uint8_t *read_hex(const char *text, size_t *size) {
    uint8_t *data;
    size_t i;
    *size = strspn(text, "0123456789abcdef") / 2;
    data = malloc(*size ? *size : 1);
    for (i = 0; i < *size; i++) {
        unsigned byte;
        sscanf(text + 2 * i, "%2x", &byte);
        data[i] = (uint8_t)byte;
    }
    return data;
}

static void encode(char *line) {
    unsigned long field[4], i;
    int16_t *counts;
    uint8_t *packet, *frame;
    size_t size;
    for (i = 0; i < 4; i++) field[i] = strtoul(line, &line, 10);
    counts = malloc(field[0] * field[1] * sizeof *counts);
    for (i = 0; i < field[0] * field[1]; i++) counts[i] = (int16_t)strtol(line, &line, 10);
    packet = malloc(MUJO_PACKET_SIZE(field[0], field[1]));
    size = mujo_encode(counts, (uint8_t)field[0], (uint8_t)field[1], (uint16_t)field[2], (uint32_t)field[3], packet);
    frame = malloc(MUJO_FRAME_SIZE(size));
    print_hex(frame, mujo_cobs_encode(packet, size, frame));
    free(frame);
    free(packet);
    free(counts);
}

static void decode(const char *line) {
    mujo_packet packet;
    size_t size, i;
    uint8_t *data = read_hex(line, &size);
    if (!mujo_decode(data, size, &packet)) {
        puts("-");
    } else {
        printf("%u %u", (unsigned)packet.seq, (unsigned)packet.tick);
        for (i = 0; i < (size_t)packet.samples * packet.channels; i++) printf(" %d", packet.counts[i]);
        putchar('\n');
    }
    free(data);
}

static void uncobs(const char *line) {
    size_t size, decoded;
    uint8_t *frame = read_hex(line, &size), *data = malloc(size ? size : 1);
    if (mujo_cobs_decode(frame, size, data, &decoded)) {
        print_hex(data, decoded);
    } else {
        puts("-");
    }
    free(frame);
    free(data);
}

int main(void) {
    static char line[1 << 14];
    while (fgets(line, sizeof line, stdin)) {
        if (line[0] == 'e') encode(line + 1);
        if (line[0] == 'd') decode(line + 2);
        if (line[0] == 'c') uncobs(line + 2);
    }
    return 0;
}
