package edge.mujo;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Samples of one stream in, predictions and gaps out: clock, resampling, windows, model, labels, smoothing.
 *
 * <p>Does what mujo_edge.Recognizer does in Python; golden/ holds both to the same events. Not thread-safe: push
 * from one thread, and not from that of the user interface.
 */
public final class Recognizer {
    /** Signal at the start of every even stretch from which its rate is measured. */
    private static final double MEASURE_S = 1;
    /** A nominal rate stands when the measured one differs by less than this share. */
    private static final double BELIEVED = 0.05;

    /** Counts so far. */
    public final Stats stats = new Stats();
    private final Mujo mujo;
    private final LabelSet labels;
    private final Model model;
    private final int channels;
    private final int used;
    private final double nominalHz;
    private final GapDetector clock;
    private final Windower windower;
    private final Smoother smoother;
    private final ArrayDeque<Sample> held = new ArrayDeque<>();
    private Resampler resampler;
    private boolean stuck;

    /**
     * A recognizer for one stream.
     *
     * @param channels 3 (accelerometer) or 6 (and gyroscope): length of every sample
     * @param rateHz rate that was asked for, 0 if none was; it is measured in any case
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
        clock = new GapDetector(stats, Arrays.copyOf(mujo.channels, used), mujo.maxGapS);
        windower = new Windower(mujo, used);
        smoother = new Smoother(labels);
    }

    /** Forget the samples so far, but not the counts: what comes next is not continuous with them. */
    public void reset() {
        restart();
        smoother.reset();
    }

    /**
     * Take one sample. What the model throws comes through; then the stream begins anew, as after `reset`.
     *
     * @param tS device time in seconds
     * @param x acceleration in m/s2 with gravity and, with 6 channels, rotation in rad/s
     * @return what the sample completes, in order; mostly nothing
     */
    public List<Event> push(double tS, float[] x) {
        if (x.length != channels) {
            throw new IllegalArgumentException("a sample has " + x.length + " values instead of " + channels);
        }
        List<Event> events = new ArrayList<>(0);
        double at = clock.check(tS, x);
        if (Double.isNaN(at)) {
            return events;
        }
        if (clock.gap() != null) {
            events.add(clock.gap());
            reset();
        }
        held.add(new Sample(at, Arrays.copyOf(x, used)));
        if (resampler == null && at - held.getFirst().tS >= MEASURE_S) {
            resampler = new Resampler(settle(measured()), mujo.rateHz);
        }
        try {
            while (resampler != null && !held.isEmpty()) {
                Sample sample = held.remove();
                resampler.push(sample.tS, sample.x, (t, point) -> add(t, point, events));
            }
        } catch (RuntimeException error) { // of the model
            reset();
            throw error;
        }
        return events;
    }

    /** Rate of the stretch that is held, which has just become long enough. */
    private double measured() {
        return (held.size() - 1) / (held.getLast().tS - held.getFirst().tS);
    }

    /** The rate to resample from: a nominal one, the stream's or the model's, that the measured one bears out. */
    private double settle(double measuredHz) {
        for (double hz : new double[] {nominalHz, mujo.rateHz}) {
            if (hz > 0 && Math.abs(measuredHz / hz - 1) < BELIEVED) {
                return hz;
            }
        }
        return measuredHz;
    }

    private void restart() {
        resampler = null;
        held.clear();
        windower.reset();
    }

    /** A point at the model's rate. */
    private void add(double tS, double[] point, List<Event> events) {
        if (!windower.add(point)) {
            return;
        }
        stats.windows++;
        boolean before = stuck;
        stuck = windower.constant();
        if (!stuck) {
            events.add(predict(tS));
        } else if (!before) {
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

    /** Made of length 1. */
    static float[] normalized(float[] embedding, int dim) {
        double sum = 0;
        for (float value : embedding) {
            sum += (double) value * value;
        }
        if (embedding.length != dim || Double.isNaN(sum) || Double.isInfinite(sum)) {
            throw new IllegalStateException(
                    "the model did not give " + dim + " finite values; is it the file of this folder?");
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
