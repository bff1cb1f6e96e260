package edge.mujo;

import java.util.List;

/** Classes for one placement. Another label set works with the same model: it is only data in mujo.properties. */
public final class LabelSet {
    /** Label of a window that fits no class. */
    public static final String UNKNOWN = "unknown";

    public final String name;
    /** The labels in the order of the prototypes, then "unknown". */
    public final String[] names;
    /** One L2-normalized row per label. */
    final float[][] prototypes;
    public final String placement;
    /** 3: only the accelerometer; 6: also the gyroscope, where the stream has one. */
    public final int channels;
    final double temperature;
    final double unknownThreshold;
    /** "hmm", "majority" or "none". */
    final String smoothing;
    final double stay;
    final int smoothingWindows;

    LabelSet(ModelMetadata metadata, String name, int dim) {
        this.name = name;
        List<String> labels = metadata.list("labels");
        labels.add(UNKNOWN);
        names = labels.toArray(new String[0]);
        prototypes = new float[names.length - 1][];
        for (int k = 0; k < prototypes.length; k++) {
            prototypes[k] = metadata.floats("prototypes." + k, dim);
        }
        placement = metadata.text("placement");
        channels = (int) metadata.number("channels");
        temperature = metadata.number("temperature");
        unknownThreshold = metadata.number("unknown_threshold");
        smoothing = metadata.text("smoothing.method");
        stay = metadata.number("smoothing.stay");
        smoothingWindows = (int) metadata.number("smoothing.windows");
        check();
    }

    private LabelSet(LabelSet other, String smoothing, double stay, int smoothingWindows) {
        name = other.name;
        names = other.names;
        prototypes = other.prototypes;
        placement = other.placement;
        channels = other.channels;
        temperature = other.temperature;
        unknownThreshold = other.unknownThreshold;
        this.smoothing = smoothing;
        this.stay = stay;
        this.smoothingWindows = smoothingWindows;
        check();
    }

    /** Throws if a value is outside the limits of mujo.json; comparisons are false for NaN. */
    private void check() {
        boolean known = smoothing.equals("hmm") || smoothing.equals("majority") || smoothing.equals("none");
        boolean valid = names.length > 1
                && (channels == 3 || channels == 6)
                && temperature >= 1e-6
                && temperature <= 1e6
                && Math.abs(unknownThreshold) <= 1.01
                && known
                && stay >= 0
                && stay <= 1
                && smoothingWindows >= 1;
        if (!valid) {
            throw new IllegalArgumentException("label set " + name + " has a value outside its limits; export again");
        }
    }

    /** The same labels with another smoothing: "hmm" (with `stay`), "majority" (of the last `windows`) or "none". */
    public LabelSet smoothed(String method, double stay, int windows) {
        return new LabelSet(this, method, stay, windows);
    }

    /**
     * Probabilities of the labels, then of "unknown": softmax(cosine / temperature), where "unknown" is one more
     * class whose cosine is always the threshold.
     */
    float[] probabilities(float[] embedding) {
        double[] weights = new double[names.length];
        double largest = unknownThreshold;
        for (int k = 0; k < prototypes.length; k++) {
            float cosine = 0;
            for (int d = 0; d < embedding.length; d++) {
                cosine += embedding[d] * prototypes[k][d];
            }
            weights[k] = cosine;
            largest = Math.max(largest, cosine);
        }
        weights[prototypes.length] = unknownThreshold;
        double sum = 0;
        for (int k = 0; k < weights.length; k++) {
            weights[k] = Math.exp((weights[k] - largest) / temperature);
            sum += weights[k];
        }
        float[] p = new float[weights.length];
        for (int k = 0; k < p.length; k++) {
            p[k] = (float) (weights[k] / sum);
        }
        return p;
    }

    /** Index of the largest value; the first of equal ones. */
    static int best(float[] p) {
        int best = 0;
        for (int k = 1; k < p.length; k++) {
            if (p[k] > p[best]) {
                best = k;
            }
        }
        return best;
    }
}
