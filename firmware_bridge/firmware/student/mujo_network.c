#include "mujo_network.h"

#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
#include <arm_acle.h>
#define MUJO_DSP 1
#else
#define MUJO_DSP 0
#endif

/* 2 * x * multiplier / 2**32, rounded half up, as gemmlowp's SaturatingRoundingDoublingHighMul; |x| < 2**30. */
static inline int32_t high(int32_t x, int32_t multiplier) {
    return (int32_t)(((int64_t)(x * 2) * multiplier + INT32_C(0x40000000) + INT32_C(0x40000000)) >> 32);
}

static inline int8_t saturated(int32_t x) { return (int8_t)(x < -128 ? -128 : x > 127 ? 127 : x); }

/* MultiplyByQuantizedMultiplier of tensorflow/lite/kernels/internal/common.cc, where it rounds twice: `high`, then a
 * division by 2**(shift + 1) that rounds half away from zero. `zero` is 1 + twice the output's zero point: the second
 * rounding and the zero point are one addition before the last bit goes. */
static inline int8_t requantised(int32_t sum, int32_t multiplier, uint8_t shift, int32_t zero) {
    int32_t x = high(sum, multiplier);
    return saturated((((x + (x >> 31)) >> shift) + zero) >> 1);
}

#if MUJO_DSP
/* Four values at any address. */
static inline int8x4_t four(const int8_t *at) {
    return (int8x4_t)((uint32_t)(uint8_t)at[0] | (uint32_t)(uint8_t)at[1] << 8 | (uint32_t)(uint8_t)at[2] << 16 |
                      (uint32_t)(uint8_t)at[3] << 24);
}

/* Values 0 and 2, and 1 and 3, as 16 bits each. */
static inline int16x2_t even(int8x4_t x) { return __sxtb16(x); }
static inline int16x2_t odd(int8x4_t x) {
#ifdef __GNUC__ /* the instruction turns its operand itself, which no intrinsic says */
    int16x2_t y;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(y) : "r"(x));
    return y;
#else
    return __sxtb16((int8x4_t)((uint32_t)x >> 8));
#endif
}
#endif

/* Two rows of `a` and `b` (each `groups` times four values) with the weights of two outputs: sums[0] and [1] for the
 * outputs of `a`, [2] and [3] for those of `b`. */
typedef struct {
    const int8_t *a, *b;
#if MUJO_DSP
    int16x2_t pairs[MUJO_LONGEST_PATCH]; /* both rows, widened once for all outputs */
#endif
    uint16_t groups;
} patch;

static inline void widen(patch *p) {
#if MUJO_DSP
    const int8_t *a = p->a, *b = p->b;
    int16x2_t *to = p->pairs, *end = to + 4 * p->groups;
    for (; to != end; to += 4, a += 4, b += 4) {
        int8x4_t x = four(a), y = four(b);
        to[0] = even(x);
        to[1] = odd(x);
        to[2] = even(y);
        to[3] = odd(y);
    }
#else
    (void)p;
#endif
}

static inline void multiply(const patch *p, const int8_t *weights, int32_t sums[4]) {
    int32_t s0 = sums[0], s1 = sums[1], s2 = s0, s3 = s1;
#if MUJO_DSP
    const int16x2_t *x = p->pairs, *end = x + 4 * p->groups;
    do {
        int8x4_t v = four(weights), w = four(weights + 4);
        int16x2_t v0 = even(v), v1 = odd(v), w0 = even(w), w1 = odd(w);
        s0 = __smlad(v1, x[1], __smlad(v0, x[0], s0));
        s1 = __smlad(w1, x[1], __smlad(w0, x[0], s1));
        s2 = __smlad(v1, x[3], __smlad(v0, x[2], s2));
        s3 = __smlad(w1, x[3], __smlad(w0, x[2], s3));
        weights += 8;
        x += 4;
    } while (x != end);
#else
    const int8_t *a = p->a, *b = p->b, *end = a + 4 * p->groups;
    do {
        int i;
        for (i = 0; i < 4; i++) {
            s0 += weights[i] * a[i];
            s1 += weights[i + 4] * a[i];
            s2 += weights[i] * b[i];
            s3 += weights[i + 4] * b[i];
        }
        weights += 8;
        a += 4;
        b += 4;
    } while (a != end);
#endif
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

static void convolve(const mujo_layer *layer, const int8_t *in, int8_t *out) {
    const uint16_t channels = layer->channels, step = (uint16_t)(layer->stride * layer->channels_in);
    const int32_t zero = 2 * layer->zero_out + 1;
    patch p;
    uint16_t row, c;
    p.groups = (uint16_t)((layer->kernel * layer->channels_in + 3) / 4);
    for (row = 0; row < layer->rows; row = (uint16_t)(row + 2)) {
        const int last = row + 1 == layer->rows; /* then the second row is the first one, done twice */
        const int8_t *weights = layer->weights;
        int8_t *a = out + row * channels, *b = last ? a : a + channels;
        p.a = in + row * step;
        p.b = last ? p.a : p.a + step;
        widen(&p);
        for (c = 0; c < channels; c = (uint16_t)(c + 2)) {
            int32_t sums[4];
            sums[0] = layer->bias[c];
            sums[1] = layer->bias[c + 1];
            multiply(&p, weights, sums);
            weights += 8 * p.groups;
            a[c] = requantised(sums[0], layer->multiplier[c], layer->shift[c], zero);
            b[c] = requantised(sums[2], layer->multiplier[c], layer->shift[c], zero);
            a[c + 1] = requantised(sums[1], layer->multiplier[c + 1], layer->shift[c + 1], zero);
            b[c + 1] = requantised(sums[3], layer->multiplier[c + 1], layer->shift[c + 1], zero);
        }
    }
}

static void convolve_depthwise(const mujo_layer *layer, const int8_t *in, int8_t *out) {
    const uint16_t channels = layer->channels;
    const int32_t zero = 2 * layer->zero_out + 1;
    uint16_t row, c;
    for (row = 0; row < layer->rows; row++, in += layer->stride * channels, out += channels) {
        for (c = 0; c < channels; c++) {
            const int8_t *x = in + c, *w = layer->weights + c, *end = w + layer->kernel * channels;
            int32_t sum = layer->bias[c];
            for (; w != end; w += channels, x += channels) sum += *w * *x;
            out[c] = requantised(sum, layer->multiplier[c], layer->shift[c], zero);
        }
    }
}

/* x * multiplier / 2**(31 + shift), rounded twice. */
static inline int32_t scaled(int32_t x, int32_t multiplier, uint8_t shift) {
    x = high(x, multiplier);
    return shift ? (((x + (x >> 31)) >> (shift - 1)) + 1) >> 1 : x;
}

/* tensorflow/lite/kernels/internal/reference/integer_ops/add.h, with the 20 bits that add.cc gives it. */
static void add(const mujo_layer *layer, const int8_t *in, const int8_t *other, int8_t *out) {
    const int32_t *multiplier = layer->multiplier;
    const uint8_t *shift = layer->shift;
    const int8_t *end = out + layer->rows * layer->channels;
    while (out != end) {
        int32_t sum = scaled((*in++ - layer->zero) * (INT32_C(1) << 20), multiplier[0], shift[0]) +
                      scaled((*other++ - layer->zero_other) * (INT32_C(1) << 20), multiplier[1], shift[1]);
        *out++ = saturated(scaled(sum, multiplier[2], shift[2]) + layer->zero_out);
    }
}

/* QuantizedMeanOrSum of tensorflow/lite/kernels/internal/reference/reduce.h: the count is in the multiplier. */
static void mean(const mujo_layer *layer, const int8_t *in, int8_t *out) {
    const uint16_t channels = layer->channels;
    uint16_t row, c;
    for (c = 0; c < channels; c++) {
        const int8_t *x = in + c;
        int32_t sum = layer->bias[0];
        for (row = 0; row < layer->rows_in; row++, x += channels) sum += *x;
        out[c] = requantised(sum, layer->multiplier[0], layer->shift[0], 2 * layer->zero_out + 1);
    }
}

static void copy(const int8_t *from, uint16_t bytes, int8_t *to) {
    while (bytes--) *to++ = *from++;
}

static void fill(int8_t *at, uint16_t bytes, int8_t value) {
    while (bytes--) *at++ = value;
}

void mujo_network_load(const int8_t *ring, uint16_t oldest, mujo_arena *arena) {
    const uint16_t late = (uint16_t)(oldest * MUJO_CHANNELS), early = (uint16_t)(MUJO_WINDOW * MUJO_CHANNELS - late);
    int8_t *window = arena->bytes + mujo_layers[0].in + mujo_layers[0].left * MUJO_CHANNELS;
    copy(ring + late, early, window);
    copy(ring, late, window + early);
}

void mujo_network_layer(uint16_t index, mujo_arena *arena) {
    const mujo_layer *layer = mujo_layers + index;
    int8_t *in = arena->bytes + layer->in, *out = arena->bytes + layer->out;
    fill(in, (uint16_t)(layer->left * layer->channels_in), layer->zero);
    fill(in + (layer->left + layer->rows_in) * layer->channels_in, (uint16_t)(layer->right * layer->channels_in),
         layer->zero);
    switch (layer->kind) {
        case MUJO_CONV: convolve(layer, in, out); break;
        case MUJO_DEPTHWISE: convolve_depthwise(layer, in, out); break;
        case MUJO_ADD: add(layer, in, arena->bytes + layer->other, out); break;
        default: mean(layer, in, out); break;
    }
}

void mujo_network_take(int8_t *embedding, const mujo_arena *arena) {
    copy(arena->bytes + mujo_layers[MUJO_LAYERS - 1].out, MUJO_EMBEDDING, embedding);
}

void mujo_network_run(const int8_t *ring, uint16_t oldest, int8_t *embedding, mujo_arena *arena) {
    uint16_t layer;
    mujo_network_load(ring, oldest, arena);
    for (layer = 0; layer < MUJO_LAYERS; layer++) mujo_network_layer(layer, arena);
    mujo_network_take(embedding, arena);
}
