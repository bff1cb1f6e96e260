/* A program that only recognizes, for `make size`: its flash and RAM are those of the library. */
#include "mujo.h"

mujo recognizer;
volatile float sensor[MUJO_CHANNELS];
volatile int64_t clock_us;
volatile uint8_t shown;

int main(void) {
    mujo_event event;
    float x[MUJO_CHANNELS];
    int c;
    if (!mujo_init(&recognizer, &MUJO_LABELS, MUJO_CHANNELS, 50)) return 1;
    for (;;) {
        for (c = 0; c < MUJO_CHANNELS; c++) x[c] = sensor[c];
        if (mujo_push(&recognizer, clock_us, x, &event) == MUJO_LABEL) shown = event.label;
    }
}
