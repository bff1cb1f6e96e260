package edge.mujo;

/**
 * Device time, checked: what follows evenly passes, all else is dropped and counted.
 *
 * <p>Dropped as invalid: values and times that are not finite, or not possible. Dropped as repeated: samples that
 * come twice or up to the longest gap late. A longer step backwards is a clock that wrapped or started again: from
 * there on time is shifted, so that it goes on that gap after the last good sample.
 */
final class GapDetector {
    /** No sensor is faster. */
    static final double MIN_STEP_S = 100e-6;
    /** No clock counts further (the year 2286); beyond it a double would lose the sample interval. */
    private static final double LATEST_S = 1e10;

    private final Stats stats;
    private final float[] limits;
    private final double maxGapS;
    private double offsetS;
    private double lastS = Double.NaN;
    private boolean spoiled;
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

    /** Time of a good sample, NaN if it has to be dropped. `gap` then tells what was before it. */
    double check(double tS, float[] x) {
        stats.samples++;
        gap = null;
        if (!sound(tS, x)) {
            stats.invalid++;
            spoiled = true;
            return Double.NaN;
        }
        double t = tS + offsetS;
        double step = t - lastS; // NaN at first: no comparison holds
        if (step >= -maxGapS && step < MIN_STEP_S) {
            stats.repeated++;
            return Double.NaN;
        }
        if (step < 0) {
            offsetS += maxGapS - step;
            t += maxGapS - step;
            gap = new Event.Gap(lastS, t, "clock");
        } else if (step > maxGapS) {
            gap = new Event.Gap(lastS, t, spoiled ? "invalid" : "missing");
        }
        if (gap != null) {
            stats.gaps++;
        }
        lastS = t;
        spoiled = false;
        return t;
    }

    /** The gap before the sample that was checked last, null if there was none. */
    Event.Gap gap() {
        return gap;
    }

    private boolean sound(double tS, float[] x) {
        boolean good = Math.abs(tS) <= LATEST_S;
        for (int c = 0; c < limits.length; c++) {
            good &= Math.abs(x[c]) <= limits[c]; // false for NaN
        }
        return good;
    }
}
