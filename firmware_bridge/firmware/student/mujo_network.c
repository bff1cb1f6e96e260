#include "mujo_network.h"

#include <stddef.h>

#ifdef __GNUC__
#define INLINE static inline __attribute__((always_inline)) /* also with -Os, to keep sums in registers */
#else
#define INLINE static inline
#endif

/* Cortex-M4 and larger: two 16-bit products per instruction. Inline assembly where there is no intrinsic. */
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__) && !defined(__ARM_BIG_ENDIAN)
#include <arm_acle.h>
#define MUJO_DSP 1
#else
#define MUJO_DSP 0
#endif

/* 2 * x * multiplier / 2**32, rounded half up, as gemmlowp's SaturatingRoundingDoublingHighMul; |x| < 2**30. */
INLINE int32_t high(int32_t x, int32_t multiplier) {
#if MUJO_DSP
    int32_t y;
    __asm__("smmulr %0, %1, %2" : "=r"(y) : "r"(x * 2), "r"(multiplier));
    return y;
#else
    return (int32_t)(((int64_t)(x * 2) * multiplier + INT64_C(0x80000000)) >> 32);
#endif
}

/* x / 2, rounded down, as int8. */
INLINE int8_t half(int32_t x) {
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    __asm__("ssat %0, #8, %1, asr #1" : "=r"(x) : "r"(x));
    return (int8_t)x;
#else
    x >>= 1;
    return (int8_t)(x < -128 ? -128 : x > 127 ? 127 : x);
#endif
}

/* MultiplyByQuantizedMultiplier of tensorflow/lite/kernels/internal/common.cc, where it rounds twice: `high`, then a
 * division by 2**(shift + 1) that rounds half away from zero. `zero` is 1 + twice the output's zero point, which merges
 * the second rounding and the zero point into one addition before the last halving. */
INLINE int8_t requantized(int32_t sum, int32_t multiplier, uint8_t shift, int32_t zero) {
    int32_t x = high(sum, multiplier);
    return half(((x + (x >> 31)) >> shift) + zero);
}

#if MUJO_DSP
typedef int8x4_t __attribute__((may_alias)) four;
typedef int8x4_t __attribute__((may_alias, aligned(1))) four_anywhere;

/* Values 0 and 2 of four, and 1 and 3, as 16 bits each. */
INLINE int16x2_t even(int8x4_t x) { return __sxtb16(x); }
INLINE int16x2_t odd(int8x4_t x) {
    int16x2_t y;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(y) : "r"(x));
    return y;
}
#endif

/* Two rows of 8 * `groups` values; with MUJO_DSP also widened to 16 bits, once for all outputs. */
typedef struct {
    const int8_t *a, *b;
    size_t groups;
#if MUJO_DSP
    int16x2_t wide[MUJO_LONGEST_PATCH];
#endif
} patch;

INLINE void widen(patch *p) {
#if MUJO_DSP
    const int8_t *a = p->a, *b = p->b;
    int16x2_t *to = p->wide, *end = to + 8 * p->groups;
    for (; to != end; to += 4, a += 4, b += 4) {
        int8x4_t x = *(const four_anywhere *)a, y = *(const four_anywhere *)b;
        to[0] = even(x);
        to[1] = odd(x);
        to[2] = even(y);
        to[3] = odd(y);
    }
#else
    (void)p;
#endif
}

/* Adds four products to each of the sums: outputs 0 and 1 of row a, then of row b. */
#if MUJO_DSP
INLINE void four_products(const int16x2_t *x, const int8_t *weights, int32_t sums[4]) {
    int8x4_t v = *(const four *)weights, w = *(const four *)(weights + 4);
    int16x2_t v0 = even(v), v1 = odd(v), w0 = even(w), w1 = odd(w);
    sums[0] = __smlad(v1, x[1], __smlad(v0, x[0], sums[0]));
    sums[1] = __smlad(w1, x[1], __smlad(w0, x[0], sums[1]));
    sums[2] = __smlad(v1, x[3], __smlad(v0, x[2], sums[2]));
    sums[3] = __smlad(w1, x[3], __smlad(w0, x[2], sums[3]));
}
#else
INLINE void products(int32_t a, int32_t b, int32_t v, int32_t w, int32_t sums[4]) {
    sums[0] += v * a;
    sums[1] += w * a;
    sums[2] += v * b;
    sums[3] += w * b;
}
INLINE void four_products(const int8_t *a, const int8_t *b, const int8_t *weights, int32_t sums[4]) {
    products(a[0], b[0], weights[0], weights[4], sums);
    products(a[1], b[1], weights[1], weights[5], sums);
    products(a[2], b[2], weights[2], weights[6], sums);
    products(a[3], b[3], weights[3], weights[7], sums);
}
#endif

INLINE void multiply(const patch *p, const int8_t *weights, int32_t sums[4]) {
    const int8_t *end = weights + 16 * p->groups;
#if MUJO_DSP
    const int16x2_t *x = p->wide;
    for (; weights != end; weights += 16, x += 8) {
        four_products(x, weights, sums);
        four_products(x + 4, weights + 8, sums);
    }
#else
    const int8_t *a = p->a, *b = p->b;
    for (; weights != end; weights += 16, a += 8, b += 8) {
        four_products(a, b, weights, sums);
        four_products(a + 4, b + 4, weights + 8, sums);
    }
#endif
}

INLINE void requantize_two(int32_t x, int32_t y, const mujo_scale *scale, int32_t zero, int8_t *a, int8_t *b) {
    const int32_t multiplier = scale->multiplier; /* read before the stores, which may alias it */
    const uint8_t shift = scale->shift;
    *a = requantized(x, multiplier, shift, zero);
    *b = requantized(y, multiplier, shift, zero);
}

static void convolve(const mujo_layer *layer, const int8_t *in, int8_t *out) {
    const size_t channels = layer->channels, step = (size_t)layer->stride * layer->channels_in;
    const mujo_scale *end = layer->scales + channels;
    const int32_t zero = 2 * layer->zero_out + 1;
    patch p;
    size_t row;
    p.groups = ((size_t)layer->kernel * layer->channels_in + 7) / 8;
    for (row = 0; row < layer->rows; row += 2) {
        const int last = row + 1 == layer->rows; /* then the second row is the first one again */
        const int8_t *weights = layer->weights;
        const mujo_scale *scale;
        int8_t *a = out + row * channels, *b = last ? a : a + channels;
        p.a = in + row * step;
        p.b = last ? p.a : p.a + step;
        widen(&p);
        for (scale = layer->scales; scale != end; scale += 2) {
            int32_t sums[4];
            sums[0] = sums[2] = scale[0].bias;
            sums[1] = sums[3] = scale[1].bias;
            multiply(&p, weights, sums);
            weights += 16 * p.groups;
            requantize_two(sums[0], sums[2], scale, zero, a++, b++);
            requantize_two(sums[1], sums[3], scale + 1, zero, a++, b++);
        }
    }
}

static void convolve_depthwise(const mujo_layer *layer, const int8_t *in, int8_t *out) {
    const size_t channels = layer->channels, step = layer->stride * channels, end = layer->kernel * channels;
    const int32_t zero = 2 * layer->zero_out + 1;
    size_t row, c, at;
    for (row = 0; row < layer->rows; row++) {
        const int8_t *x = in + row * step, *w = layer->weights;
        const mujo_scale *scale = layer->scales;
        for (c = 0; c < channels; c += 4, x += 4, w += 4, scale += 4, out += 4) {
            int32_t s0 = scale[0].bias, s1 = scale[1].bias, s2 = scale[2].bias, s3 = scale[3].bias;
            for (at = 0; at != end; at += channels) {
#if MUJO_DSP
                int8x4_t x4 = *(const four *)(x + at), w4 = *(const four *)(w + at);
                int16x2_t x02 = even(x4), x13 = odd(x4), w02 = even(w4), w13 = odd(w4);
                s0 = __smlabb(x02, w02, s0);
                s1 = __smlabb(x13, w13, s1);
                s2 = __smlatt(x02, w02, s2);
                s3 = __smlatt(x13, w13, s3);
#else
                s0 += x[at] * w[at];
                s1 += x[at + 1] * w[at + 1];
                s2 += x[at + 2] * w[at + 2];
                s3 += x[at + 3] * w[at + 3];
#endif
            }
            out[0] = requantized(s0, scale[0].multiplier, scale[0].shift, zero);
            out[1] = requantized(s1, scale[1].multiplier, scale[1].shift, zero);
            out[2] = requantized(s2, scale[2].multiplier, scale[2].shift, zero);
            out[3] = requantized(s3, scale[3].multiplier, scale[3].shift, zero);
        }
    }
}

/* x * multiplier / 2**(31 + shift), rounded twice as in TensorFlow Lite. */
INLINE int32_t scaled(int32_t x, int32_t multiplier, uint8_t shift) {
    x = high(x, multiplier);
    return shift ? (((x + (x >> 31)) >> (shift - 1)) + 1) >> 1 : x;
}

/* tensorflow/lite/kernels/internal/reference/integer_ops/add.h, with the left shift of 20 bits of add.cc. */
static void add(const mujo_layer *layer, const int8_t *in, const int8_t *other, int8_t *out) {
    const mujo_scale one = layer->scales[0], two = layer->scales[1], sum = layer->scales[2];
    const int8_t *end = out + (size_t)layer->rows * layer->channels;
    while (out != end) {
        int32_t x = scaled((*in++ + one.bias) * (INT32_C(1) << 20), one.multiplier, one.shift);
        int32_t y = scaled((*other++ + two.bias) * (INT32_C(1) << 20), two.multiplier, two.shift);
        *out++ = half(2 * (scaled(x + y, sum.multiplier, sum.shift) + sum.bias));
    }
}

/* QuantizedMeanOrSum of tensorflow/lite/kernels/internal/reference/reduce.h; the multiplier includes 1 / count. */
static void mean(const mujo_layer *layer, const int8_t *in, int8_t *out) {
    const size_t channels = layer->channels, end = layer->rows_in * channels;
    const mujo_scale scale = *layer->scales;
    const int32_t zero = 2 * layer->zero_out + 1;
    size_t c, at;
    for (c = 0; c < channels; c++) {
        int32_t sum = scale.bias;
        for (at = c; at < end; at += channels) sum += in[at];
        out[c] = requantized(sum, scale.multiplier, scale.shift, zero);
    }
}

static void copy(const int8_t *from, size_t bytes, int8_t *to) {
    while (bytes--) *to++ = *from++;
}

static void fill(int8_t *at, size_t bytes, int8_t value) {
    while (bytes--) *at++ = value;
}

void mujo_network_load(const int8_t *ring, uint16_t oldest, mujo_arena *arena) {
    const size_t late = (size_t)oldest * MUJO_CHANNELS, early = MUJO_WINDOW * MUJO_CHANNELS - late;
    int8_t *window = arena->bytes + mujo_layers[0].in + mujo_layers[0].left * MUJO_CHANNELS;
    copy(ring + late, early, window);
    copy(ring, late, window + early);
}

void mujo_network_layer(uint16_t index, mujo_arena *arena) {
    const mujo_layer *layer = mujo_layers + index;
    const size_t channels = layer->channels_in, before = layer->left * channels;
    int8_t *in = arena->bytes + layer->in, *out = arena->bytes + layer->out;
    fill(in, before, layer->zero);
    fill(in + before + layer->rows_in * channels, layer->right * channels, layer->zero);
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
