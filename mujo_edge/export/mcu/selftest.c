/* Runs the streams of golden/ through the recognizer on a PC and compares: `make selftest`, or ./selftest golden.
 *
 * Must be equal: events in order, their reasons and times (1e-6 s); the network's input, bit for bit at the model's
 * rate, else within 2e-3 and rounding; labels and scores (1e-3) of the golden embeddings. Those come from LiteRT with
 * XNNPACK, whose rounding differs slightly from that of the reference kernels: the network's own embeddings may differ
 * by EMBEDDING_TOLERANCE, and its labels may differ where two are closer than COSINE_TIE. The stream whose rate has to
 * be measured is skipped, as the C recognizer does not measure it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mujo.h"

#define EMBEDDING_TOLERANCE 0.05 /* of L2-normalized embeddings; a step of the int8 output is 0.012 */
#define COSINE_TIE 0.01          /* labels whose cosines differ by less may be exchanged by that tolerance */
#define SAMPLE_TOLERANCE 2e-3
#define FIELDS 16

static int failures;

typedef struct {
    const mujo_label_set *chosen;
    mujo_label_set labels; /* `chosen` with the smoothing of the case */
    int channels;
    double rate_hz;
    long samples, predictions;
    char name[64];
} test_case;

typedef struct {
    long events, windows;
    double score, embedding, sample;
    long steps; /* values of the network's input that differ */
} result;

static void fail(const char *name, const char *what, double at_s) {
    if (failures++ < 20) printf("%s: %s at %.3f s\n", name, what, at_s);
}

static FILE *opened(const char *folder, const char *name, const char *suffix) {
    char path[1024];
    FILE *file;
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    file = fopen(path, "rb");
    if (!file) {
        printf("cannot read %s\n", path);
        exit(2);
    }
    return file;
}

/* Split a line of CSV in place -> number of fields; -1 at the end of the file. */
static int next_row(FILE *file, char *line, int size, char *fields[FIELDS]) {
    char *from = line, *to = line;
    int n = 1, quoted = 0;
    if (!fgets(line, size, file)) return -1;
    fields[0] = line;
    for (; *from && *from != '\n' && *from != '\r'; from++) {
        if (*from == '"') {
            if (quoted && from[1] == '"') *to++ = *from++;
            else quoted = !quoted;
        } else if (*from == ',' && !quoted) {
            *to++ = 0;
            if (n < FIELDS) fields[n++] = to;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
    return n;
}

static const mujo_label_set *label_set(const char *name) {
#define SAME(set) \
    if (!strcmp(name, set.name)) return &set;
    MUJO_LABEL_SETS(SAME)
    printf("no label set is called %s\n", name);
    exit(2);
}

static void read_floats(FILE *file, float *values, size_t count) {
    unsigned char bytes[4];
    size_t i;
    for (i = 0; i < count; i++) {
        uint32_t bits;
        if (fread(bytes, 1, 4, file) != 4) {
            printf("the golden windows or embeddings are truncated\n");
            exit(2);
        }
        bits = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
        memcpy(values + i, &bits, 4);
    }
}

/* Compare the network's input with the golden window (channel first). A sample of a slow sensor may have added points
 * after the window's last one, overwriting its first ones; those were compared with the window before. */
static void compare_window(const test_case *test, const mujo *m, const mujo_event *event, const float *golden,
                           result *r) {
    int t, c, exact = fabs(test->rate_hz * MUJO_INTERVAL_US - 1e6) < 1e-3;
    int more = (int)((m->end_us - event->end_us) / MUJO_INTERVAL_US);
    for (t = more; t < MUJO_WINDOW; t++) {
        for (c = 0; c < MUJO_CHANNELS; c++) {
            float value = golden[c * MUJO_WINDOW + t];
            int actual = m->window[(m->oldest + t - more) % MUJO_WINDOW][c];
            volatile float product = value * MUJO_INPUT_PER_SCALE;
            double expected = fmin(127, fmax(-128, rintf(product + (float)MUJO_INPUT_ZERO)));
            double off = fabs((actual - MUJO_INPUT_ZERO) / (double)MUJO_INPUT_PER_SCALE - value);
            double beyond = off - 0.5 / (double)MUJO_INPUT_PER_SCALE;
            if (expected > -128 && expected < 127 && beyond > r->sample) r->sample = beyond;
            if (actual == (int)expected) continue;
            r->steps++;
            if (exact || fabs(actual - expected) > 1 || beyond > SAMPLE_TOLERANCE) {
                fail(test->name, "a window differs", (double)event->end_us * 1e-6);
                return;
            }
        }
    }
}

static void compare_embedding(const test_case *test, const mujo *m, const float *golden, result *r) {
    double length = 0, own[MUJO_EMBEDDING];
    int d;
    for (d = 0; d < MUJO_EMBEDDING; d++) {
        own[d] = m->embedding[d] - MUJO_OUTPUT_ZERO;
        length += own[d] * own[d];
    }
    for (d = 0; d < MUJO_EMBEDDING; d++) {
        double off = fabs(own[d] / sqrt(length) - (double)golden[d]);
        if (off > r->embedding) r->embedding = off;
        if (!(off <= EMBEDDING_TOLERANCE)) {
            fail(test->name, "an embedding differs", (double)m->end_us * 1e-6);
            return;
        }
    }
}

/* Cosine of an L2-normalized embedding to a label's prototype. */
static double cosine(const mujo_label_set *labels, const char *name, const float *embedding) {
    double sum = 0;
    int i, d;
    for (i = 0; i + 1 < labels->classes && strcmp(name, labels->labels[i]); i++) continue;
    if (i + 1 == labels->classes) return (double)labels->unknown_threshold;
    for (d = 0; d < MUJO_EMBEDDING; d++) {
        sum += (double)embedding[d] * (double)labels->prototypes[i * MUJO_EMBEDDING + d];
    }
    return sum;
}

/* Whether a label is the golden one, or tied with it for the golden embedding. */
static int same_label(const mujo_label_set *labels, const char *name, const char *golden, const float *embedding) {
    double difference = cosine(labels, name, embedding) - cosine(labels, golden, embedding);
    return !strcmp(name, golden) || fabs(difference) < COSINE_TIE;
}

static int same_time(int64_t us, const char *golden_s) { return fabs((double)us * 1e-6 - atof(golden_s)) <= 1e-6; }

/* Compare an event with its row: event, start_s, end_s, label, score, raw_label, reason. `classified` is the result for
 * the golden `embedding`. */
static void compare_event(const test_case *test, const mujo *m, const mujo_event *event, const mujo_event *classified,
                          const float *embedding, char *fields[FIELDS], result *r) {
    static const char *const reasons[] = {"missing", "invalid", "clock", "constant"};
    double end_s = (double)event->end_us * 1e-6, off;
    if (!same_time(event->end_us, fields[2])) fail(test->name, "an event ends at another time", end_s);
    if (event->kind == MUJO_GAP) {
        if (strcmp(fields[0], "gap") || strcmp(fields[6], reasons[event->reason])) {
            fail(test->name, "a gap differs", end_s);
        }
        if (!same_time(event->start_us, fields[1])) fail(test->name, "a gap starts at another time", end_s);
        return;
    }
    if (strcmp(fields[0], "prediction") ||
        !same_label(&test->labels, mujo_label(m, event->label), fields[3], embedding) ||
        !same_label(&test->labels, mujo_label(m, event->raw_label), fields[5], embedding)) {
        fail(test->name, "a label differs", end_s);
    }
    off = fabs((double)classified->score - atof(fields[4]));
    if (off > r->score) r->score = off;
    if (!(off <= 1e-3) || strcmp(fields[3], mujo_label(m, classified->label)) ||
        strcmp(fields[5], mujo_label(m, classified->raw_label))) {
        fail(test->name, "the label or score of a golden embedding differs", end_s);
    }
}

static result play(const char *folder, const test_case *test) {
    static mujo m, golden; /* `golden` classifies the golden embeddings */
    static float window[MUJO_CHANNELS * MUJO_WINDOW], embedding[MUJO_EMBEDDING];
    char line[512], golden_line[512], *fields[FIELDS], *golden_fields[FIELDS];
    FILE *samples = opened(folder, test->name, ".samples.csv"), *events = opened(folder, test->name, ".events.csv");
    FILE *windows = opened(folder, test->name, ".windows.f32");
    FILE *embeddings = opened(folder, test->name, ".embeddings.f32");
    result r = {0, 0, 0, 0, 0, 0};
    long n = 0;
    if (!mujo_init(&m, &test->labels, (uint8_t)test->channels, (float)test->rate_hz) ||
        !mujo_init(&golden, &test->labels, (uint8_t)test->channels, (float)test->rate_hz)) {
        fail(test->name, "mujo_init rejects it", 0);
    }
    next_row(samples, line, sizeof line, fields);
    next_row(events, golden_line, sizeof golden_line, golden_fields);
    for (; next_row(samples, line, sizeof line, fields) > test->channels; n++) {
        float x[6];
        mujo_event event, classified;
        int c;
        for (c = 0; c < test->channels; c++) x[c] = strtof(fields[1 + c], NULL);
        if (!mujo_push(&m, (int64_t)llround(atof(fields[0]) * 1e6), x, &event)) continue;
        classified = event;
        r.events++;
        if (event.kind == MUJO_GAP) {
            mujo_reset(&golden);
        } else {
            r.windows++;
            read_floats(windows, window, sizeof window / sizeof *window);
            read_floats(embeddings, embedding, MUJO_EMBEDDING);
            compare_window(test, &m, &event, window, &r);
            compare_embedding(test, &m, embedding, &r);
            mujo_classify(&golden, embedding, &classified);
        }
        if (next_row(events, golden_line, sizeof golden_line, golden_fields) < 7) {
            fail(test->name, "there is an extra event", (double)event.end_us * 1e-6);
            break;
        }
        compare_event(test, &m, &event, &classified, embedding, golden_fields, &r);
    }
    if (next_row(events, golden_line, sizeof golden_line, golden_fields) > 0) {
        fail(test->name, "an event is missing", 0);
    }
    if (n != test->samples || r.windows != test->predictions) fail(test->name, "the counts differ", 0);
    fclose(samples);
    fclose(events);
    fclose(windows);
    fclose(embeddings);
    return r;
}

/* name, label_set, smoothing, stay, smoothing_windows, channels, rate_hz, samples, predictions */
static test_case case_of(char *fields[FIELDS]) {
    test_case test;
    snprintf(test.name, sizeof test.name, "%s", fields[0]);
    test.chosen = label_set(fields[1]);
    test.labels = *test.chosen;
    test.labels.smoothing = !strcmp(fields[2], "hmm")        ? MUJO_HMM
                            : !strcmp(fields[2], "majority") ? MUJO_MAJORITY
                                                             : MUJO_NONE;
    test.labels.stay = strtof(fields[3], NULL);
    test.labels.windows = (uint8_t)atoi(fields[4]);
    test.channels = atoi(fields[5]);
    test.rate_hz = atof(fields[6]);
    test.samples = atol(fields[7]);
    test.predictions = atol(fields[8]);
    return test;
}

int main(int count, char **arguments) {
    const char *folder = count > 1 ? arguments[1] : "golden";
    FILE *cases = opened(folder, "cases", ".csv");
    char line[512], *fields[FIELDS];
    int played = 0;
    next_row(cases, line, sizeof line, fields);
    while (next_row(cases, line, sizeof line, fields) >= 9) {
        test_case test = case_of(fields);
        result r;
        if (!*fields[6]) {
            printf("%-10s skipped: its rate has to be measured\n", test.name);
            continue;
        }
        r = play(folder, &test);
        played++;
        printf("%-10s %3ld events, %3ld windows: input %ld steps off, %.1e beyond rounding; ", test.name, r.events,
               r.windows, r.steps, r.sample);
        printf("embedding %.4f; score %.1e\n", r.embedding, r.score);
    }
    fclose(cases);
    if (!played) fail("golden", "there is no case", 0);
    printf(failures ? "FAILED: %d differences\n" : "all equal\n", failures);
    return failures ? 1 : 0;
}
