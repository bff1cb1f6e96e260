package edge.mujo;

/**
 * Checks the times and values of samples: good ones pass, others are dropped and counted.
 *
 * <p>Dropped as invalid: values and times that are not finite or out of range. Dropped as repeated: samples whose
 * time does not increase, by up to the longest gap. A longer step backwards means that the clock wrapped or
 * restarted: from there on time is shifted, to continue one such gap after the last good sample.
 */
final class GapDetector {
    /** Smallest step of time between samples: no sensor is faster. */
    static final double MIN_STEP_S = 100e-6;
    /** Largest plausible time (the year 2286 of Unix time); beyond it a double cannot resolve the sample interval. */
    private static final double LATEST_S = 1e10;

    private final Stats stats;
    private final float[] limits;
    private final double maxGapS;
    private double offsetS;
    private double lastS = Double.NaN;
    private boolean sawInvalid;
    private Event.Gap gap;

    GapDetector(Stats stats, String[] channels, double maxGapS) {
        this.stats = stats;
        this.maxGapS = maxGapS;
        limits = new float[channels.length];
        for (int c = 0; c < limits.length; c++) {
            limits[c] = limit(channels[c]);
        }
    }

    /** |value| that no wearable sensor exceeds: 1000 m/s2 (100 g) and 100 rad/s (5700 deg/s). */
    private static float limit(String channel) {
        switch (channel.charAt(0)) {
            case 'a':
                return 1000;
            case 'g':
                return 100;
            default:
                return Float.POSITIVE_INFINITY;
        }
    }

    /** Time of a good sample, NaN for one to drop. Afterwards `gap()` is the gap before the sample. */
    double check(double tS, float[] x) {
        stats.samples++;
        gap = null;
        if (!plausible(tS, x)) {
            stats.invalid++;
            sawInvalid = true;
            return Double.NaN;
        }
        double t = tS + offsetS;
        double step = t - lastS; // NaN for the first sample: all comparisons are false
        if (step >= -maxGapS && step < MIN_STEP_S) {
            stats.repeated++;
            return Double.NaN;
        }
        if (step < 0) {
            offsetS += maxGapS - step;
            t += maxGapS - step;
            gap = new Event.Gap(lastS, t, "clock");
        } else if (step > maxGapS) {
            gap = new Event.Gap(lastS, t, sawInvalid ? "invalid" : "missing");
        }
        if (gap != null) {
            stats.gaps++;
        }
        lastS = t;
        sawInvalid = false;
        return t;
    }

    /** The gap before the last checked sample, null if there was none. */
    Event.Gap gap() {
        return gap;
    }

    private boolean plausible(double tS, float[] x) {
        boolean good = Math.abs(tS) <= LATEST_S;
        for (int c = 0; c < limits.length; c++) {
            good &= Math.abs(x[c]) <= limits[c]; // false for NaN
        }
        return good;
    }
}
