package edge.mujo;

/** A result of a stream: a prediction or a gap. Times are device time in seconds. */
public abstract class Event {
    /** Time of the last sample of the window, or of the first one after the gap. */
    public final double endS;

    private Event(double endS) {
        this.endS = endS;
    }

    /** One recognized window. */
    public static final class Prediction extends Event {
        /** Smoothed label, which the user sees, and its probability. */
        public final String label;
        public final float score;
        /** Label of the window alone. */
        public final String rawLabel;
        /** Smoothed probabilities of the labels of the set, then of "unknown". */
        public final float[] scores;
        /** The window's embedding, L2-normalized. */
        public final float[] embedding;

        Prediction(double endS, String label, float score, String rawLabel, float[] scores, float[] embedding) {
            super(endS);
            this.label = label;
            this.score = score;
            this.rawLabel = rawLabel;
            this.scores = scores;
            this.embedding = embedding;
        }
    }

    /** A stretch without usable signal, from the last good sample to the next. */
    public static final class Gap extends Event {
        public final double startS;
        /**
         * "missing" (no samples arrived), "invalid" (values not finite or out of range), "clock" (device time went
         * backwards) or "constant" (one value for a whole window: the sensor sleeps or is stuck).
         */
        public final String reason;

        Gap(double startS, double endS, String reason) {
            super(endS);
            this.startS = startS;
            this.reason = reason;
        }
    }
}
