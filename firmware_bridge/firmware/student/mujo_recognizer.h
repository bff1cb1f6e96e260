/* What a watch feels -> what its wearer does, on the device: all that `mujo-edge stream` does with a stream, in C99.
 *
 * Samples with the device's time go in one by one. They are checked, laid on the model's even grid (low-passed first
 * if they come faster), quantized into a window; every MUJO_HOP points the network turns it into an embedding, which
 * is compared with prototypes, may be "unknown", and is smoothed over time. No malloc, no libm, of string.h memset and
 * memmove; floats are single precision, time is whole microseconds; all memory is in `mujo` and on the stack.
 *
 *   static mujo recognizer;
 *   mujo_init(&recognizer, &mujo_labels_physio_wrist, 6, 50);
 *   every sample, m/s2 and rad/s:
 *       mujo_event event;
 *       if (mujo_push(&recognizer, t_us, x, &event) == MUJO_LABEL) show(mujo_label(&recognizer, event.label));
 *
 * mujo_edge/{clock,signal,windowing,recognizer}.py is its Python twin: samples at the model's rate give the same bits
 * of the network's input, others the same to 2e-3 of its unit. It differs in this: the rate is told, not measured, and
 * time is rounded to microseconds. */
#ifndef MUJO_RECOGNIZER_H
#define MUJO_RECOGNIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "mujo_config.h"
#include "mujo_network.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef MUJO_MAX_RATE_HZ /* of samples; a low-pass needs room. With that of the model there is none */
#define MUJO_MAX_RATE_HZ 208
#endif

#define MUJO_FILTERS (MUJO_MAX_RATE_HZ * MUJO_INTERVAL_US > 1000000)

/* Half the low-pass: 4 of the model's intervals, of the source's samples. */
#define MUJO_HALF ((4L * MUJO_MAX_RATE_HZ * MUJO_INTERVAL_US + 999999) / 1000000)

typedef enum { MUJO_NONE, MUJO_HMM, MUJO_MAJORITY } mujo_smoothing;

/* Classes for one place on the body. `labels` are `classes` names of which the last is "unknown"; `prototypes` a row of
 * MUJO_EMBEDDING, of length 1, for each but that. `channels` is 3 where a gyroscope is left out of account. */
typedef struct {
    const char *name;
    const char *const *labels;
    const float *prototypes;
    uint8_t classes, channels;
    mujo_smoothing smoothing;
    uint8_t windows; /* that vote, 1 to MUJO_MAX_VOTES */
    float stay;      /* probability that a label lasts from one window to the next */
    float temperature, unknown_threshold;
} mujo_label_set;

typedef enum { MUJO_NOTHING, MUJO_LABEL, MUJO_GAP } mujo_kind;

/* Why there is no signal: no samples came; they were not finite or beyond any sensor's range; device time went back;
 * the accelerometer repeated one value for a whole window. */
typedef enum { MUJO_MISSING, MUJO_INVALID, MUJO_CLOCK, MUJO_CONSTANT } mujo_reason;

/* MUJO_LABEL: `label` with its probability `score`, smoothed, and `raw_label`, that of the window alone; numbers for
 * mujo_label(). `end_us` is the time of the window's last point.
 * MUJO_GAP: no signal from `start_us` to `end_us`; the next label comes a whole window later. */
typedef struct {
    mujo_kind kind;
    mujo_reason reason;
    int64_t start_us, end_us;
    uint8_t label, raw_label;
    float score;
} mujo_event;

/* Counts since mujo_init. */
typedef struct {
    uint32_t samples, invalid, repeated, gaps, windows;
} mujo_counts;

/* A line through samples, read off at even distances. Positions are in 1e-9 of the source's interval. */
typedef struct {
    int64_t u, next;
    float x[MUJO_CHANNELS];
} mujo_line;

/* The state of one stream. Read what you like; write nothing. */
typedef struct {
    const mujo_label_set *labels;
    uint8_t channels; /* of a sample that are used */
    bool heard, spoiled, even, stuck, believed;
    uint8_t voted;
    uint32_t rate_mhz;
    int64_t device_us, last_us, start_us, end_us;
    mujo_counts counts;
    mujo_line grid;
#if MUJO_FILTERS
    mujo_line source;
    int64_t filtered;
    uint16_t half, place, delayed;
    float kernel[MUJO_HALF + 1];
    float history[2 * MUJO_HALF + 1][MUJO_CHANNELS];
#endif
    uint16_t missing, same; /* points until the next window; of one value, up to a window */
    float acceleration[3];
    uint16_t oldest;                           /* row of the window */
    int8_t window[MUJO_WINDOW][MUJO_CHANNELS]; /* a ring */
    int8_t embedding[MUJO_EMBEDDING];          /* of the last window, as the network gave it */
    mujo_arena arena;
    float belief[MUJO_MAX_CLASSES];
    uint8_t votes[MUJO_MAX_VOTES];
} mujo;

/* Begin. `channels` of every sample: 3 or 6; `rate_hz` nominal, 1 to MUJO_MAX_RATE_HZ. False, and nothing may be
 * pushed, if one of them or the label set is not possible. */
bool mujo_init(mujo *m, const mujo_label_set *labels, uint8_t channels, float rate_hz);

/* Take one sample: `x` is ax ay az in m/s2 with gravity, then gx gy gz in rad/s if there is a gyroscope; axes are those
 * of a watch, x to 3 o'clock, y to 12 o'clock, z out of the display. `t_us` is the device's clock. Returns event->kind;
 * the network runs in here, in one call of 25 at 50 Hz. Any values and times may come. */
mujo_kind mujo_push(mujo *m, int64_t t_us, const float *x, mujo_event *event);

/* The same for counts of mujo_packet.h: 1/200 m/s2 and 1/900 rad/s. */
mujo_kind mujo_push_counts(mujo *m, int64_t t_us, const int16_t *counts, mujo_event *event);

/* A 32-bit clock that wraps, such as micros(), as time that goes on: the one nearest to `before_us`. */
int64_t mujo_time(int64_t before_us, uint32_t micros);

/* Forget the samples so far, but not the counts: what comes next is not continuous with them. */
void mujo_reset(mujo *m);

/* The name of a label by its number, "unknown" for the last one and any that is none. */
const char *mujo_label(const mujo *m, uint8_t label);

/* Second half of mujo_push: (MUJO_EMBEDDING) embedding of any length -> label, raw_label and score, after smoothing. */
void mujo_judge(mujo *m, const float *embedding, mujo_event *event);

#ifdef __cplusplus
}
#endif

#endif
