/* The int8 student in C99: a window of samples -> its embedding. No malloc, no libm, no float; any byte order; int of
 * 16 bits or more; right shifts of negative numbers must keep the sign, as in all common compilers.
 *
 * Results equal those of TensorFlow Lite's int8 reference kernels on the same .tflite file bit for bit. The network
 * itself is mujo_model.h and mujo_model.c, which `mujo-edge export --target mcu` writes:
 *
 *   MUJO_WINDOW, MUJO_CHANNELS              rows and columns of a window
 *   MUJO_INPUT_SCALE, MUJO_INPUT_ZERO       real value of an int8 of the window = scale * (q - zero)
 *   MUJO_EMBEDDING                          int8 values in an embedding
 *   MUJO_OUTPUT_SCALE, MUJO_OUTPUT_ZERO     the same for the embedding
 *   MUJO_LAYERS, MUJO_ARENA_BYTES, MUJO_LONGEST_PATCH, MUJO_MACS
 *
 *   static mujo_arena arena;
 *   int8_t ring[MUJO_WINDOW * MUJO_CHANNELS], embedding[MUJO_EMBEDDING];
 *   mujo_network_run(ring, oldest, embedding, &arena);
 */
#ifndef MUJO_NETWORK_H
#define MUJO_NETWORK_H

#include "mujo_model.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Memory for the layers' inputs and outputs. It is used only during a run, and may be shared with other code. */
typedef union {
    int8_t bytes[MUJO_ARENA_BYTES];
    int32_t aligned;
} mujo_arena;

/* A window -> its embedding.
 *
 * `ring` holds MUJO_WINDOW rows of MUJO_CHANNELS values (time-major); row `oldest` is the first one in time, 0 for a
 * plain window. Every value is allowed. `embedding` has room for MUJO_EMBEDDING values. */
void mujo_network_run(const int8_t *ring, uint16_t oldest, int8_t *embedding, mujo_arena *arena);

/* mujo_network_run in parts, so that other work can be done in between: load, layers 0 to MUJO_LAYERS - 1, take. `ring`
 * may change after load. */
void mujo_network_load(const int8_t *ring, uint16_t oldest, mujo_arena *arena);
void mujo_network_layer(uint16_t layer, mujo_arena *arena);
void mujo_network_take(int8_t *embedding, const mujo_arena *arena);

/* Types of mujo_model.c, for internal use. */
enum { MUJO_CONV, MUJO_DEPTHWISE, MUJO_ADD, MUJO_MEAN };

/* sum -> (sum + bias) * multiplier / 2**(32 + shift) */
typedef struct {
    int32_t bias, multiplier;
    uint8_t shift;
} mujo_scale;

/* A layer takes `rows_in` rows of `channels_in` at byte `in` of the arena and makes `rows` of `channels` at `out`.
 *
 * in, left, right  `in` is the start of `left` rows of padding; the input follows, then `right` more rows. The layer
 *                  fills the padding with `zero`, the input's zero point
 * kernel, stride   in rows; a fully connected layer is a convolution of one row
 * weights          convolution: for every two outputs, for every four inputs, four weights of the one output and four
 * of
 *                  the other (inputs are padded to a multiple of eight); depthwise: `kernel` rows of `channels`.
 *                  Aligned as an int32_t
 * scales           one per output, with the input's zero point folded into the bias; one for a mean. Three for an
 *                  addition, with 2**(31 + shift): for its inputs with the bias added before scaling, for its output
 *                  with the bias added after
 * other            second input of an addition
 * zero_out         zero point of the output */
typedef struct {
    const int8_t *weights;
    const mujo_scale *scales;
    uint16_t in, other, out, rows_in, rows, channels_in, channels;
    uint8_t kind, kernel, stride, left, right;
    int8_t zero, zero_out;
} mujo_layer;

extern const mujo_layer mujo_layers[MUJO_LAYERS];

#ifdef __cplusplus
}
#endif

#endif
