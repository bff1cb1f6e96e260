/* Lines of "<us> <value> <value> <value> [...]" -> lines of "label <us> <label> <raw> <score>" and "gap <us> <us>
 * <reason>". Arguments: label set by number, channels, rate, and the smoothing's name, stay and windows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mujo.h"

#define POINTER(set) &set,

int main(int count, char **arguments) {
    static const mujo_label_set *const sets[] = {MUJO_LABEL_SETS(POINTER)};
    static mujo m;
    static char line[512];
    mujo_label_set labels = *sets[atoi(arguments[1])];
    int channels = atoi(arguments[2]);
    if (count != 7) return 2;
    labels.smoothing = !strcmp(arguments[4], "hmm")        ? MUJO_HMM
                       : !strcmp(arguments[4], "majority") ? MUJO_MAJORITY
                                                           : MUJO_NONE;
    labels.stay = strtof(arguments[5], NULL);
    labels.windows = (uint8_t)atoi(arguments[6]);
    if (!mujo_init(&m, &labels, (uint8_t)channels, strtof(arguments[3], NULL))) {
        puts("refused");
        return 0;
    }
    while (fgets(line, sizeof line, stdin)) {
        char *at = line;
        float x[6] = {0, 0, 0, 0, 0, 0};
        mujo_event event;
        int64_t t_us;
        int c;
        if (*line == 'r') {
            mujo_reset(&m);
            continue;
        }
        t_us = strtoll(at, &at, 10);
        for (c = 0; c < channels; c++) x[c] = strtof(at, &at);
        switch (mujo_push(&m, t_us, x, &event)) {
            case MUJO_LABEL:
                printf("label %lld %d %d %.7f\n", (long long)event.end_us, event.label, event.raw_label,
                       (double)event.score);
                break;
            case MUJO_GAP:
                printf("gap %lld %lld %d\n", (long long)event.start_us, (long long)event.end_us, (int)event.reason);
                break;
            case MUJO_NOTHING: break;
        }
    }
    printf("counts %u %u %u %u %u\n", (unsigned)m.counts.samples, (unsigned)m.counts.invalid,
           (unsigned)m.counts.repeated, (unsigned)m.counts.gaps, (unsigned)m.counts.windows);
    return 0;
}
