package edge.mujo;

import java.util.Arrays;

/** Buffers the last samples at the model's rate and prepares the model's input. */
final class Windower {
    private final Mujo mujo;
    private final int channels;
    private final float[] x;
    private int filled;

    Windower(Mujo mujo, int channels) {
        this.mujo = mujo;
        this.channels = channels;
        x = new float[channels * mujo.window];
    }

    /** Forget the samples so far: the next one does not continue them. */
    void reset() {
        filled = 0;
    }

    /** Add a sample -> whether the window is full; then call `slide` before the next one. */
    boolean add(double[] sample) {
        for (int c = 0; c < channels; c++) {
            x[c * mujo.window + filled] = (float) sample[c];
        }
        return ++filled == mujo.window;
    }

    /** Drop the oldest `hop` samples, so that `hop` more complete the next window. */
    void slide() {
        filled -= mujo.hop;
        for (int c = 0; c < channels; c++) {
            System.arraycopy(x, c * mujo.window + mujo.hop, x, c * mujo.window, filled);
        }
    }

    /** Whether the accelerometer repeats one value for the whole window. */
    boolean constant() {
        for (int c = 0; c < 3; c++) {
            for (int i = 1; i < mujo.window; i++) {
                if (x[c * mujo.window + i] != x[c * mujo.window]) {
                    return false;
                }
            }
        }
        return true;
    }

    /** The model's input: scaled, clipped, zeros where there is no gyroscope. */
    float[] prepared() {
        float[] prepared = Arrays.copyOf(x, mujo.channels.length * mujo.window);
        for (int i = 0; i < x.length; i++) {
            float scaled = x[i] / mujo.scale[i / mujo.window];
            prepared[i] = Math.max(-mujo.clip, Math.min(mujo.clip, scaled));
        }
        return prepared;
    }
}
