/* Windows from standard input, each MUJO_WINDOW x MUJO_CHANNELS int8 -> their embeddings on standard output. */
#include "mujo_network.h"

#include <stdio.h>

int main(void) {
    static int8_t window[MUJO_WINDOW * MUJO_CHANNELS], embedding[MUJO_EMBEDDING];
    static mujo_arena arena;
    while (fread(window, sizeof window, 1, stdin) == 1) {
        mujo_network_run(window, 0, embedding, &arena);
        if (fwrite(embedding, sizeof embedding, 1, stdout) != 1) return 1;
    }
    return 0;
}
