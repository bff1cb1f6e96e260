/* See mujo_recognizer.h. Helpers are defined before their callers: mujo_push, the entry point, is near the end. */
#include "mujo_recognizer.h"

#include <string.h>

/* mujo_edge/gaps.py and mujo_edge/signal.py */
#define LATEST_US 10000000000000000 /* largest plausible time: the year 2286 */
#define MIN_STEP_US 100
#define SNAP_US 20 /* times this close to a multiple of the source's interval are snapped to it */
#define ACCELERATION_LIMIT 1000.0f
#define ANGULAR_RATE_LIMIT 100.0f

#define ONE 1000000000 /* position: one interval of the source */
#define ROUND_US 1000000000 /* both grids coincide every 1000 s; positions are rebased there, against overflow */
#define PI 3.14159265f

#if 1000000000 % MUJO_INTERVAL_US != 0
#error "the model's interval must divide 1000 s in whole microseconds"
#endif
#if MUJO_HOP * MUJO_INTERVAL_US <= MUJO_MAX_GAP_US
#error "one sample must not complete two windows"
#endif

static float square_root(float x) {
    union {
        float f;
        uint32_t bits;
    } y;
    int i;
    if (!(x > 0)) return 0;
    y.f = x;
    y.bits = (y.bits >> 1) + 0x1FC00000u; /* halves the exponent: the start for Newton's method */
    for (i = 0; i < 4; i++) y.f = 0.5f * (y.f + x / y.f);
    return y.f;
}

/* exp(x) for x <= 0 with a relative error of 3e-7: 2**n * exp(r) with |r| <= ln(2) / 2, Taylor series. */
static float exponential(float x) {
    union {
        uint32_t bits;
        float f;
    } scale;
    int n;
    float r;
    if (!(x > -87)) return 0;
    n = (int)(x * 1.44269504f - 0.5f);
    r = (x - (float)n * 0.693145752f) - (float)n * 1.42860677e-6f;
    scale.bits = (uint32_t)(n + 127) << 23;
    return scale.f *
           (1 + r * (1 + r * (0.5f + r * (1 / 6.0f + r * (1 / 24.0f + r * (1 / 120.0f + r * (1 / 720.0f)))))));
}

/* The network's input for a scaled value: round(x / scale + zero), half to even. */
static int8_t quantized(float x) {
    volatile float product = x * MUJO_INPUT_PER_SCALE; /* rounds, as in Python: no fused multiply-add */
    float value = product + MUJO_INPUT_ZERO, rest;
    int whole;
    if (value >= 127) return 127;
    if (value <= -128) return -128;
    whole = (int)value;
    rest = value - (float)whole;
    if (rest > 0.5f || (rest == 0.5f && whole % 2 != 0)) whole++;
    if (rest < -0.5f || (rest == -0.5f && whole % 2 != 0)) whole--;
    return (int8_t)whole;
}

const char *mujo_label(const mujo *m, uint8_t label) {
    const mujo_label_set *labels = m->labels;
    return labels->labels[label < labels->classes ? label : labels->classes - 1];
}

int64_t mujo_time(int64_t before_us, uint32_t micros) {
    uint32_t step = micros - (uint32_t)((uint64_t)before_us & 0xFFFFFFFFu);
    return before_us + (step < 0x80000000u ? (int64_t)step : (int64_t)step - 0x100000000);
}

/* ---- smoothing: mujo_edge/recognizer.py, Smoother ---- */

static void reset_smoothing(mujo *m) {
    m->vote_count = 0;
    m->has_belief = false;
}

/* Forward filter (Rabiner 1989, eq. 20, normalized at every step). */
static void forward_filter(mujo *m, float *p) {
    const mujo_label_set *labels = m->labels;
    float move = (1 - labels->stay) / (float)(labels->classes - 1), sum = 0;
    uint8_t i;
    for (i = 0; i < labels->classes; i++) {
        if (p[i] < 1e-6f) p[i] = 1e-6f; /* never zero, from which the filter could not recover */
        if (m->has_belief) p[i] *= labels->stay * m->belief[i] + move * (1 - m->belief[i]);
        sum += p[i];
    }
    for (i = 0; i < labels->classes; i++) m->belief[i] = p[i] /= sum;
    m->has_belief = true;
}

/* Fraction of the last windows; the newest has a weight of 1.5, which breaks ties. */
static void vote(mujo *m, float *p, uint8_t newest) {
    float sum;
    uint8_t i;
    if (m->vote_count >= m->labels->windows) {
        m->vote_count = (uint8_t)(m->labels->windows - 1);
        memmove(m->votes, m->votes + 1, m->vote_count);
    }
    m->votes[m->vote_count++] = newest;
    sum = (float)m->vote_count + 0.5f;
    for (i = 0; i < m->labels->classes; i++) p[i] = 0;
    for (i = 0; i < m->vote_count; i++) p[m->votes[i]] += 1 / sum;
    p[newest] += 0.5f / sum;
}

static uint8_t likeliest(const float *p, uint8_t classes) {
    uint8_t i, best = 0;
    for (i = 1; i < classes; i++) {
        if (p[i] > p[best]) best = i;
    }
    return best;
}

/* ---- prototypes: mujo_edge/bundle/manifest.py, LabelSet.probabilities ---- */

void mujo_classify(mujo *m, const float *embedding, mujo_event *event) {
    const mujo_label_set *labels = m->labels;
    const float *prototype = labels->prototypes;
    float p[MUJO_MAX_CLASSES], length = 0, largest, sum = 0;
    uint8_t i;
    int d;
    for (d = 0; d < MUJO_EMBEDDING; d++) length += embedding[d] * embedding[d];
    length = square_root(length);
    largest = labels->unknown_threshold;
    for (i = 0; i + 1 < labels->classes; i++, prototype += MUJO_EMBEDDING) {
        p[i] = 0;
        for (d = 0; d < MUJO_EMBEDDING; d++) p[i] += embedding[d] * prototype[d];
        p[i] = length > 0 ? p[i] / length : 0;
        if (p[i] > largest) largest = p[i];
    }
    p[i] = labels->unknown_threshold;
    for (i = 0; i < labels->classes; i++) sum += p[i] = exponential((p[i] - largest) / labels->temperature);
    for (i = 0; i < labels->classes; i++) p[i] /= sum;
    event->raw_label = likeliest(p, labels->classes);
    if (labels->smoothing == MUJO_HMM) forward_filter(m, p);
    if (labels->smoothing == MUJO_MAJORITY) vote(m, p, event->raw_label);
    event->label = likeliest(p, labels->classes);
    event->score = p[event->label];
    event->kind = MUJO_LABEL;
}

/* ---- windows: mujo_edge/windowing.py, Windower, and signal.py, prepare ---- */

static void recognize(mujo *m, mujo_event *event) {
    float embedding[MUJO_EMBEDDING];
    bool stuck = m->same >= MUJO_WINDOW, was_stuck = m->stuck;
    int d;
    m->counts.windows++;
    m->stuck = stuck;
    event->end_us = m->end_us;
    event->start_us = m->end_us - (int64_t)(MUJO_WINDOW - 1) * MUJO_INTERVAL_US;
    if (stuck) {
        if (was_stuck) return; /* this gap was reported before */
        reset_smoothing(m);
        m->counts.gaps++;
        event->kind = MUJO_GAP;
        event->reason = MUJO_CONSTANT;
        return;
    }
    mujo_network_run(&m->window[0][0], m->oldest, m->embedding, &m->arena);
    for (d = 0; d < MUJO_EMBEDDING; d++) embedding[d] = (float)(m->embedding[d] - MUJO_OUTPUT_ZERO);
    mujo_classify(m, embedding, event);
}

/* Add a point of the model's grid: (channels) at `t_us`. */
static void add_point(mujo *m, int64_t t_us, const float *x, mujo_event *event) {
    static const float scale[MUJO_CHANNELS] = MUJO_SCALE;
    int8_t *row;
    uint8_t c;
    bool same = m->same > 0;
    row = m->window[m->oldest];
    m->oldest = (uint16_t)((m->oldest + 1) % MUJO_WINDOW);
    for (c = 0; c < MUJO_CHANNELS; c++) {
        float value = c < m->channels ? x[c] / scale[c] : 0;
        value = value > MUJO_CLIP ? MUJO_CLIP : value < -MUJO_CLIP ? -MUJO_CLIP : value;
        row[c] = quantized(value);
    }
    for (c = 0; c < 3; c++) {
        same = same && m->acceleration[c] == x[c];
        m->acceleration[c] = x[c];
    }
    m->same = (uint16_t)(!same ? 1 : m->same < MUJO_WINDOW ? m->same + 1 : MUJO_WINDOW);
    m->end_us = t_us;
    if (--m->missing) return;
    m->missing = MUJO_HOP;
    recognize(m, event);
}

/* ---- resampling: mujo_edge/signal.py, Resampler ---- */

/* Whether there is another grid point up to the new knot (u, x); its value goes to `y`. */
static bool next_point(mujo_line *line, int64_t u, const float *x, uint8_t channels, float *y) {
    float fraction;
    uint8_t c;
    if (line->next > u) return false;
    fraction = line->next == u ? 1 : (float)(line->next - line->u) / (float)(u - line->u);
    for (c = 0; c < channels; c++) {
        y[c] = line->next == u ? x[c] : line->x[c] + (x[c] - line->x[c]) * fraction;
    }
    return true;
}

static void add_knot(mujo_line *line, int64_t u, const float *x, uint8_t channels) {
    uint8_t c;
    line->u = u;
    for (c = 0; c < channels; c++) line->x[c] = x[c];
}

/* Add the points of the model's grid up to a (low-passed) sample at position `u`. */
static void to_grid(mujo *m, int64_t u, const float *x, mujo_event *event) {
    float y[MUJO_CHANNELS];
    while (next_point(&m->grid, u, x, m->channels, y)) {
        add_point(m, m->start_us + m->grid.next / m->rate_mhz, y, event);
        m->grid.next += (int64_t)m->rate_mhz * MUJO_INTERVAL_US;
    }
    add_knot(&m->grid, u, x, m->channels);
}

#if MUJO_FILTERS

/* sin(pi x) for x >= 0 with an error of 1e-7: Taylor series about the nearest zero. */
static float sine(float x) {
    int n = (int)(x + 0.5f);
    float r = PI * (x - (float)n), s = r * r;
    r *= 1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72 * (1 - s / 110 * (1 - s / 156)))));
    return n % 2 ? -r : r;
}

/* Half of signal.py's lowpass_kernel: windowed sinc at 0.45 of the model's rate; the whole sums to 1. */
static void design_kernel(mujo *m) {
    float sum = 0;
    uint16_t i;
    for (i = 0; i <= m->half; i++) {
        float at = 0.9f * 1e9f / MUJO_INTERVAL_US / (float)m->rate_mhz * (float)i;
        float window = 0.54f + 0.46f * sine((float)i / (float)m->half + 0.5f);
        m->kernel[i] = i ? window * sine(at) / (PI * at) : window;
        sum += i ? 2 * m->kernel[i] : m->kernel[i];
    }
    for (i = 0; i <= m->half; i++) m->kernel[i] /= sum;
}

/* Low-pass an evenly spaced sample of a faster source, and pass the result on. */
static void filter(mujo *m, const float *x, mujo_event *event) {
    uint16_t size = (uint16_t)(2 * m->half + 1), copies = (uint16_t)(m->delayed ? 1 : m->half + 1), i;
    float y[MUJO_CHANNELS];
    uint8_t c;
    for (; copies; copies--) { /* the first sample is repeated as padding */
        for (c = 0; c < m->channels; c++) m->history[m->place][c] = x[c];
        m->place = (uint16_t)((m->place + 1) % size);
        m->delayed++;
    }
    if (m->delayed < size) return;
    m->delayed = size;
    for (c = 0; c < m->channels; c++) {
        y[c] = m->kernel[0] * m->history[(m->place + m->half) % size][c];
        for (i = 1; i <= m->half; i++) {
            y[c] += m->kernel[i] *
                    (m->history[(m->place + m->half - i) % size][c] + m->history[(m->place + m->half + i) % size][c]);
        }
    }
    to_grid(m, m->filtered, y, event);
    m->filtered += ONE;
}

/* A faster source is interpolated on a grid of its own rate first, so that the low-pass gets evenly spaced samples. */
static void resample(mujo *m, int64_t u, const float *x, mujo_event *event) {
    float y[MUJO_CHANNELS];
    if (!m->half) {
        to_grid(m, u, x, event);
        return;
    }
    while (next_point(&m->source, u, x, m->channels, y)) {
        filter(m, y, event);
        m->source.next += ONE;
    }
    add_knot(&m->source, u, x, m->channels);
}

#else

static void resample(mujo *m, int64_t u, const float *x, mujo_event *event) { to_grid(m, u, x, event); }

#endif

static int64_t position(mujo *m) {
    int64_t since_us = m->last_us - m->start_us, u, whole;
    if (since_us >= 2 * (int64_t)ROUND_US) { /* all positions are past the first 1000 s by now */
        int64_t round = (int64_t)m->rate_mhz * ROUND_US;
        m->start_us += ROUND_US;
        since_us -= ROUND_US;
        m->grid.u -= round;
        m->grid.next -= round;
#if MUJO_FILTERS
        if (m->half) {
            m->source.u -= round;
            m->source.next -= round;
            m->filtered -= round;
        }
#endif
    }
    u = since_us * m->rate_mhz;
    whole = (u + ONE / 2) / ONE * ONE;
    return (u > whole ? u - whole : whole - u) <= (int64_t)SNAP_US * m->rate_mhz ? whole : u;
}

/* ---- the device's clock: mujo_edge/gaps.py, GapDetector ---- */

/* Forget the samples so far: the next one does not continue them. */
static void reset_signal(mujo *m) {
    m->resampling = false;
    m->same = 0;
    m->missing = MUJO_WINDOW;
}

static bool plausible(const mujo *m, int64_t t_us, const float *x) {
    uint8_t c;
    if (t_us > LATEST_US || t_us < -LATEST_US) return false;
    for (c = 0; c < m->channels; c++) {
        float limit = c < 3 ? ACCELERATION_LIMIT : ANGULAR_RATE_LIMIT;
        if (!(x[c] <= limit && x[c] >= -limit)) return false; /* also false for NaN */
    }
    return true;
}

static void report_gap(mujo *m, mujo_event *event, mujo_reason reason, int64_t start_us) {
    event->kind = MUJO_GAP;
    event->reason = reason;
    event->start_us = start_us;
    event->end_us = m->last_us;
    m->counts.gaps++;
    reset_smoothing(m);
    reset_signal(m);
}

mujo_kind mujo_push(mujo *m, int64_t t_us, const float *x, mujo_event *event) {
    int64_t step_us, before_us = m->last_us;
    memset(event, 0, sizeof *event);
    m->counts.samples++;
    if (!plausible(m, t_us, x)) {
        m->counts.invalid++;
        m->saw_invalid = true;
        return MUJO_NOTHING;
    }
    step_us = m->has_time ? t_us - m->device_us : 0;
    if (m->has_time && step_us < MIN_STEP_US && step_us >= -MUJO_MAX_GAP_US) {
        m->counts.repeated++;
        return MUJO_NOTHING;
    }
    m->device_us = t_us;
    if (!m->has_time) {
        m->last_us = t_us;
    } else if (step_us < 0) { /* time continues here, shifted by at most 300 years */
        m->last_us = m->last_us > LATEST_US ? t_us : m->last_us + MUJO_MAX_GAP_US;
        report_gap(m, event, MUJO_CLOCK, before_us);
    } else {
        m->last_us += step_us;
        if (step_us > MUJO_MAX_GAP_US) report_gap(m, event, m->saw_invalid ? MUJO_INVALID : MUJO_MISSING, before_us);
    }
    m->has_time = true;
    m->saw_invalid = false;
    if (!m->resampling) {
        m->resampling = true;
        m->start_us = m->last_us;
        m->grid.next = 0;
#if MUJO_FILTERS
        m->source.next = m->filtered = 0;
        m->place = m->delayed = 0;
#endif
    }
    resample(m, position(m), x, event);
    return event->kind;
}

mujo_kind mujo_push_counts(mujo *m, int64_t t_us, const int16_t *counts, mujo_event *event) {
    float x[MUJO_CHANNELS];
    uint8_t c;
    for (c = 0; c < m->channels; c++) x[c] = (float)counts[c] / (c < 3 ? 200.0f : 900.0f);
    return mujo_push(m, t_us, x, event);
}

void mujo_reset(mujo *m) {
    reset_signal(m);
    reset_smoothing(m);
}

/* Comparisons that are false for NaN. */
static bool is_within(float x, float least, float most) {
    return x >= least && x <= most;
}

static bool is_supported(const mujo_label_set *labels) {
    return labels->labels && labels->prototypes && labels->classes >= 2 && labels->classes <= MUJO_MAX_CLASSES &&
           (labels->channels == 3 || labels->channels == MUJO_CHANNELS) &&
           (labels->smoothing == MUJO_NONE || labels->smoothing == MUJO_HMM || labels->smoothing == MUJO_MAJORITY) &&
           labels->windows >= 1 && labels->windows <= MUJO_MAX_VOTES && is_within(labels->stay, 0, 1) &&
           is_within(labels->temperature, 1e-6f, 1e6f) && is_within(labels->unknown_threshold, -1.01f, 1.01f);
}

bool mujo_init(mujo *m, const mujo_label_set *labels, uint8_t channels, float rate_hz) {
    memset(m, 0, sizeof *m);
    if (!labels || !is_supported(labels)) return false;
    if ((channels != 3 && channels != MUJO_CHANNELS) || !(rate_hz >= 1 && rate_hz <= MUJO_MAX_RATE_HZ)) return false;
    m->missing = MUJO_WINDOW;
    m->labels = labels;
    m->channels = channels < labels->channels ? channels : labels->channels;
    m->rate_mhz = (uint32_t)(rate_hz * 1000 + 0.5f);
#if MUJO_FILTERS
    if ((int64_t)m->rate_mhz * MUJO_INTERVAL_US > ONE) {
        m->half = (uint16_t)((4 * (int64_t)m->rate_mhz * MUJO_INTERVAL_US + ONE - 1) / ONE);
        design_kernel(m);
    }
#endif
    return true;
}
