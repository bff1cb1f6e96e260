package edge.mujo;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Recognizes one stream: samples in, predictions and gaps out. Gap detection, resampling, windows, model, labels and
 * smoothing.
 *
 * <p>The twin of Python's mujo_edge.recognizer.Recognizer; golden/ tests that both give the same events. Not
 * thread-safe: push from one thread, and not from that of the user interface.
 */
public final class Recognizer {
    /** Seconds at the start of a gapless stretch over which its rate is measured. */
    private static final double MEASURE_S = 1;
    /** Largest relative difference of the measured rate at which a nominal rate is used. */
    private static final double RATE_TOLERANCE = 0.05;

    /** Counts so far. */
    public final Stats stats = new Stats();
    private final Mujo mujo;
    private final LabelSet labels;
    private final Model model;
    private final int channels;
    private final int used;
    private final double nominalHz;
    private final GapDetector gapDetector;
    private final Windower windower;
    private final Smoother smoother;
    private final ArrayDeque<Sample> pending = new ArrayDeque<>();
    private Resampler resampler;
    private boolean stuck;

    /**
     * A recognizer for one stream.
     *
     * @param channels 3 (accelerometer) or 6 (and gyroscope): length of every sample
     * @param rateHz requested rate, 0 if none was; the rate is measured in any case
     */
    public Recognizer(Mujo mujo, LabelSet labels, int channels, double rateHz, Model model) {
        if (channels != 3 && channels != mujo.channels.length) {
            throw new IllegalArgumentException(
                    "a stream has 3 channels (accelerometer) or " + mujo.channels.length + ", not " + channels);
        }
        this.mujo = mujo;
        this.labels = labels;
        this.model = model;
        this.channels = channels;
        used = Math.min(channels, labels.channels);
        nominalHz = rateHz;
        gapDetector = new GapDetector(stats, Arrays.copyOf(mujo.channels, used), mujo.maxGapS);
        windower = new Windower(mujo, used);
        smoother = new Smoother(labels);
    }

    /** Forget the samples so far, but not the counts: the next sample does not continue them. */
    public void reset() {
        restart();
        smoother.reset();
    }

    /**
     * Take one sample. Exceptions of the model are passed on, after a `reset`.
     *
     * @param tS device time in seconds
     * @param x acceleration in m/s2 with gravity and, with 6 channels, rotation in rad/s
     * @return the events that the sample completes, in order; mostly none
     */
    public List<Event> push(double tS, float[] x) {
        if (x.length != channels) {
            throw new IllegalArgumentException("a sample has " + x.length + " values instead of " + channels);
        }
        List<Event> events = new ArrayList<>(0);
        double at = gapDetector.check(tS, x);
        if (Double.isNaN(at)) {
            return events;
        }
        if (gapDetector.gap() != null) {
            events.add(gapDetector.gap());
            reset();
        }
        pending.add(new Sample(at, Arrays.copyOf(x, used)));
        if (resampler == null && at - pending.getFirst().tS >= MEASURE_S) {
            resampler = new Resampler(sourceRate(measured()), mujo.rateHz);
        }
        try {
            while (resampler != null && !pending.isEmpty()) {
                Sample sample = pending.remove();
                resampler.push(sample.tS, sample.x, (t, point) -> add(t, point, events));
            }
        } catch (RuntimeException error) { // from the model
            reset();
            throw error;
        }
        return events;
    }

    /** Rate of the pending samples. */
    private double measured() {
        return (pending.size() - 1) / (pending.getLast().tS - pending.getFirst().tS);
    }

    /** The rate to resample from: the stream's or the model's nominal rate if the measured one is close, else that. */
    private double sourceRate(double measuredHz) {
        for (double hz : new double[] {nominalHz, mujo.rateHz}) {
            if (hz > 0 && Math.abs(measuredHz / hz - 1) < RATE_TOLERANCE) {
                return hz;
            }
        }
        return measuredHz;
    }

    private void restart() {
        resampler = null;
        pending.clear();
        windower.reset();
    }

    /** Add a sample at the model's rate. */
    private void add(double tS, double[] point, List<Event> events) {
        if (!windower.add(point)) {
            return;
        }
        stats.windows++;
        boolean wasStuck = stuck;
        stuck = windower.constant();
        if (!stuck) {
            events.add(predict(tS));
        } else if (!wasStuck) {
            smoother.reset();
            stats.gaps++;
            events.add(new Event.Gap(tS - (mujo.window - 1) / mujo.rateHz, tS, "constant"));
        }
        windower.slide();
    }

    private Event.Prediction predict(double endS) {
        float[] embedding = normalized(model.embed(windower.prepared()), mujo.dim);
        float[] p = labels.probabilities(embedding);
        float[] smoothed = smoother.update(p);
        int best = LabelSet.best(smoothed);
        String raw = labels.names[LabelSet.best(p)];
        return new Event.Prediction(endS, labels.names[best], smoothed[best], raw, smoothed.clone(), embedding);
    }

    /** Normalize an embedding to length 1. */
    static float[] normalized(float[] embedding, int dim) {
        double sum = 0;
        for (float value : embedding) {
            sum += (double) value * value;
        }
        if (embedding.length != dim || Double.isNaN(sum) || Double.isInfinite(sum)) {
            throw new IllegalStateException(
                    "the model did not return " + dim + " finite values; use the model file of this folder");
        }
        float length = (float) Math.max(Math.sqrt(sum), 1e-12);
        float[] result = new float[embedding.length];
        for (int d = 0; d < result.length; d++) {
            result[d] = embedding[d] / length;
        }
        return result;
    }

    private static final class Sample {
        final double tS;
        final float[] x;

        Sample(double tS, float[] x) {
            this.tS = tS;
            this.x = x;
        }
    }
}
