package edge.mujo;

import java.util.ArrayDeque;

/**
 * Resamples a stream: samples with device times in, samples on a uniform grid out.
 *
 * <p>Samples at exactly the model's rate pass unchanged. Jitter and missing samples are interpolated linearly. A faster
 * source is interpolated on a grid of its own rate, then low-passed, which delays it by half a kernel (80 ms at 50 Hz).
 */
final class Resampler {
    /** Times this close to a multiple of the interval are snapped to it, which undoes the rounding of decimal files. */
    private static final double SNAP_S = 20e-6;

    /** Receives the points that a sample completes. */
    interface Sink {
        /** Value of every channel at a time in seconds, or at a position in samples. */
        void take(double at, double[] x);
    }

    private final double rateHz;
    private final double toHz;
    private final double[] kernel;
    private final Polyline even = new Polyline(1, 1);
    private final Polyline output;
    private final ArrayDeque<double[]> delayed = new ArrayDeque<>();
    private double startS = Double.NaN;
    private long filtered;

    Resampler(double rateHz, double toHz) {
        this.rateHz = rateHz;
        this.toHz = toHz;
        kernel = rateHz > toHz ? lowpass(rateHz, toHz) : null;
        output = new Polyline(rateHz, toHz);
    }

    /** Odd-length windowed-sinc low-pass at 0.45 * toHz for samples at rateHz (sinc, Hamming window); sums to 1. */
    static double[] lowpass(double rateHz, double toHz) {
        int half = (int) Math.ceil(4 * rateHz / toHz);
        double[] kernel = new double[2 * half + 1];
        double sum = 0;
        for (int i = 0; i < kernel.length; i++) {
            double angle = Math.PI * 0.9 * toHz / rateHz * (i - half);
            double sinc = i == half ? 1 : Math.sin(angle) / angle;
            kernel[i] = sinc * (0.54 + 0.46 * Math.cos(Math.PI * (i - half) / half));
            sum += kernel[i];
        }
        for (int i = 0; i < kernel.length; i++) {
            kernel[i] /= sum;
        }
        return kernel;
    }

    /** Add a sample, later than the last by no more than the longest gap; `out` receives (seconds, values). */
    void push(double tS, float[] x, Sink out) {
        if (Double.isNaN(startS)) {
            startS = tS;
        }
        double u = (tS - startS) * rateHz;
        double whole = Math.rint(u);
        if (Math.abs(u - whole) <= SNAP_S * rateHz) {
            u = whole;
        }
        double[] y = new double[x.length];
        for (int c = 0; c < y.length; c++) {
            y[c] = x[c];
        }
        Sink grid = (k, point) -> out.take(startS + k / toHz, point);
        if (kernel == null) {
            output.add(u, y, grid);
        } else {
            even.add(u, y, (k, point) -> filter(point, grid));
        }
    }

    /** Low-pass one evenly spaced sample; the first one is repeated as padding. */
    private void filter(double[] x, Sink grid) {
        for (int i = delayed.isEmpty() ? kernel.length / 2 : 0; i > 0; i--) {
            delayed.add(x);
        }
        delayed.add(x);
        if (delayed.size() < kernel.length) {
            return;
        }
        double[] y = new double[x.length];
        int tap = kernel.length;
        for (double[] past : delayed) {
            double weight = kernel[--tap];
            for (int c = 0; c < y.length; c++) {
                y[c] += weight * past[c];
            }
        }
        delayed.remove();
        output.add(filtered++, y, grid);
    }

    /** Linear interpolation of a stream of knots at k * numerator / denominator for k = 0, 1, 2, ... */
    private static final class Polyline {
        private final double numerator;
        private final double denominator;
        private long next;
        private double lastU;
        private double[] last;

        Polyline(double numerator, double denominator) {
            this.numerator = numerator;
            this.denominator = denominator;
        }

        /** Add a knot at an increasing position, 0 at first; `out` receives (k, values) of the points covered. */
        void add(double u, double[] x, Sink out) {
            for (double at = at(next); at <= u; at = at(next)) {
                out.take(next++, at < u ? between(at, u, x) : x);
            }
            lastU = u;
            last = x;
        }

        private double at(long k) {
            return k * numerator / denominator;
        }

        private double[] between(double at, double u, double[] x) {
            double[] y = new double[x.length];
            for (int c = 0; c < y.length; c++) {
                y[c] = last[c] + (x[c] - last[c]) / (u - lastU) * (at - lastU);
            }
            return y;
        }
    }
}
