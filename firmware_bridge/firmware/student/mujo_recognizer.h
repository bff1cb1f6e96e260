/* Activity recognition on the device: the whole pipeline of `mujo-edge stream` in C99.
 *
 * Samples with device times are pushed one by one. They are validated, resampled to the model's grid (low-passed first
 * if their rate is higher) and quantized into a window; every MUJO_HOP points the network computes an embedding, which
 * is compared with prototypes, possibly rejected as "unknown", and smoothed over time. No malloc, no libm; of string.h
 * only memset and memmove; floats are single precision, time is in whole microseconds; all memory is in `mujo` and on
 * the stack.
 *
 *   static mujo recognizer;
 *   mujo_init(&recognizer, &mujo_labels_physio_wrist, 6, 50);
 *   for every sample, in m/s2 and rad/s:
 *       mujo_event event;
 *       if (mujo_push(&recognizer, t_us, x, &event) == MUJO_LABEL) show(mujo_label(&recognizer, event.label));
 *
 * mujo_edge/{gaps,signal,windowing,recognizer}.py is the Python twin: samples at the model's rate give the same bits of
 * the network's input, others agree to 2e-3 of its unit. Two differences: the rate is an argument and not measured, and
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

#ifndef MUJO_MAX_RATE_HZ /* highest sample rate; rates above the model's need memory for a low-pass */
#define MUJO_MAX_RATE_HZ 208
#endif

#define MUJO_FILTERS (MUJO_MAX_RATE_HZ * MUJO_INTERVAL_US > 1000000)

/* Half length of the low-pass in samples of the source: 4 of the model's intervals. */
#define MUJO_HALF ((4L * MUJO_MAX_RATE_HZ * MUJO_INTERVAL_US + 999999) / 1000000)

typedef enum { MUJO_NONE, MUJO_HMM, MUJO_MAJORITY } mujo_smoothing;

/* Classes for one placement on the body. `labels` are `classes` names, the last one "unknown"; `prototypes` has an
 * L2-normalized row of MUJO_EMBEDDING values for each of the others. `channels` is 3 if a gyroscope is ignored. */
typedef struct {
    const char *name;
    const char *const *labels;
    const float *prototypes;
    uint8_t classes, channels; /* 2 to MUJO_MAX_CLASSES; 3 or MUJO_CHANNELS */
    mujo_smoothing smoothing;
    uint8_t windows; /* of a majority vote, 1 to MUJO_MAX_VOTES */
    float stay;      /* probability that the label of a window is that of the window before, 0 to 1 */
    float temperature, unknown_threshold; /* 1e-6 to 1e6; a cosine, -1 to 1 */
} mujo_label_set;

typedef enum { MUJO_NOTHING, MUJO_LABEL, MUJO_GAP } mujo_kind;

/* Reason of a gap: no samples arrived; values were not finite or beyond any sensor's range; device time went backwards;
 * the accelerometer repeated one value for a whole window. */
typedef enum { MUJO_MISSING, MUJO_INVALID, MUJO_CLOCK, MUJO_CONSTANT } mujo_reason;

/* MUJO_LABEL: smoothed `label` with its probability `score`, and `raw_label` of the window alone; both are indices for
 * mujo_label(). `end_us` is the time of the window's last point.
 * MUJO_GAP: no signal from `start_us` to `end_us`; the next label follows a whole window later. */
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

/* Linear interpolation between samples at equal distances. Positions are in 1e-9 of the source's interval. */
typedef struct {
    int64_t u, next;
    float x[MUJO_CHANNELS];
} mujo_line;

/* The state of one stream. Programs may read it, but must not write to it. */
typedef struct {
    const mujo_label_set *labels;
    uint8_t channels; /* number of channels that are used */
    bool has_time, saw_invalid, resampling, stuck, has_belief;
    uint8_t vote_count;
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
    uint16_t missing, same; /* points until the next window; points of one repeated value, up to a window */
    float acceleration[3];
    uint16_t oldest;                           /* first row of the window in time */
    int8_t window[MUJO_WINDOW][MUJO_CHANNELS]; /* a ring buffer */
    int8_t embedding[MUJO_EMBEDDING];          /* the network's raw output for the last window */
    mujo_arena arena;
    float belief[MUJO_MAX_CLASSES];
    uint8_t votes[MUJO_MAX_VOTES];
} mujo;

/* Initialize. `channels` per sample: 3 or 6; `rate_hz` is the nominal rate, 1 to MUJO_MAX_RATE_HZ. Returns false if an
 * argument is outside these limits or a member of the label set outside those of mujo_label_set; then nothing may be
 * pushed. */
bool mujo_init(mujo *m, const mujo_label_set *labels, uint8_t channels, float rate_hz);

/* Take one sample: `x` is ax ay az in m/s2 with gravity, then gx gy gz in rad/s if there is a gyroscope; axes are those
 * of a watch, x to 3 o'clock, y to 12 o'clock, z out of the display. `t_us` is the device's clock. Returns event->kind.
 * One call in MUJO_HOP runs the network. Any values and times are safe. */
mujo_kind mujo_push(mujo *m, int64_t t_us, const float *x, mujo_event *event);

/* As mujo_push, for counts of mujo_packet.h: 1/200 m/s2 and 1/900 rad/s. */
mujo_kind mujo_push_counts(mujo *m, int64_t t_us, const int16_t *counts, mujo_event *event);

/* Extend a 32-bit clock that wraps, such as micros(), to 64 bits: the time nearest to `before_us`. */
int64_t mujo_time(int64_t before_us, uint32_t micros);

/* Forget the samples so far, but not the counts: the next sample does not continue them. */
void mujo_reset(mujo *m);

/* The name of a label by its index; "unknown" for the last one and for any index out of range. */
const char *mujo_label(const mujo *m, uint8_t label);

/* Last part of mujo_push: (MUJO_EMBEDDING) embedding of any norm -> label, raw_label and score, after smoothing. */
void mujo_classify(mujo *m, const float *embedding, mujo_event *event);

#ifdef __cplusplus
}
#endif

#endif
