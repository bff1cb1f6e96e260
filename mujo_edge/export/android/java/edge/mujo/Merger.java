package edge.mujo;

import java.util.ArrayDeque;

/**
 * Merges accelerometer and gyroscope, which Android sends separately, into samples of six channels: the gyroscope is
 * interpolated linearly at the times of the accelerometer.
 *
 * <p>A sample is passed on once the gyroscope has reached its time. Its rotation is NaN, which the recognizer counts as
 * invalid, where the gyroscope has no values close enough on both sides, or is silent for 5 s.
 */
public final class Merger {
    /** Longest step to interpolate across, in seconds: as the longest gap that the recognizer bridges. */
    private static final double BRIDGE_S = 0.25;
    /** Longest wait for the gyroscope in seconds: longer than a batch of any sensor. */
    private static final double WAIT_S = 5;
    /** Most values that are buffered per sensor, regardless of their times. */
    private static final int LIMIT = 4096;

    /** Receives the merged samples. */
    public interface Sink {
        /** A sample for {@link Recognizer#push}. */
        void take(double tS, float[] x);
    }

    private final Sink out;
    private final ArrayDeque<Reading> accelerations = new ArrayDeque<>();
    private final ArrayDeque<Reading> rotations = new ArrayDeque<>();

    public Merger(Sink out) {
        this.out = out;
    }

    /** Acceleration in m/s2 with gravity. */
    public void accelerometer(double tS, float x, float y, float z) {
        accelerations.add(new Reading(tS, x, y, z));
        drain();
    }

    /** Rotation in rad/s. A value whose time does not increase is dropped, unless the clock restarted. */
    public void gyroscope(double tS, float x, float y, float z) {
        double step = rotations.isEmpty() ? 1 : tS - rotations.getLast().tS;
        if (step < -WAIT_S) {
            rotations.clear();
        } else if (!(step > 0)) {
            return;
        }
        rotations.add(new Reading(tS, x, y, z));
        if (rotations.size() > LIMIT) {
            rotations.remove();
        }
        drain();
    }

    private void drain() {
        while (!accelerations.isEmpty()) {
            Reading first = accelerations.getFirst();
            boolean reached = reached(first.tS);
            boolean late = accelerations.size() > LIMIT || accelerations.getLast().tS - first.tS > WAIT_S;
            if (!reached && !late) {
                return;
            }
            accelerations.remove();
            float[] rotation = reached ? rotation(first.tS) : new float[] {Float.NaN, Float.NaN, Float.NaN};
            out.take(first.tS, new float[] {first.x, first.y, first.z, rotation[0], rotation[1], rotation[2]});
        }
    }

    /** Whether the rotation at a time is final: later values cannot change it. */
    private boolean reached(double tS) {
        return !rotations.isEmpty() && rotations.getLast().tS >= tS && rotations.getFirst().tS - tS <= WAIT_S;
    }

    /** Rotation at a time that was reached; drops the values before that time's neighbors. */
    private float[] rotation(double tS) {
        Reading before = null;
        while (rotations.getFirst().tS < tS) {
            before = rotations.remove();
        }
        Reading after = rotations.getFirst();
        if (before != null) {
            rotations.addFirst(before);
        }
        if (after.tS == tS) {
            return new float[] {after.x, after.y, after.z};
        }
        if (before == null || after.tS - before.tS > BRIDGE_S) {
            return new float[] {Float.NaN, Float.NaN, Float.NaN};
        }
        float fraction = (float) ((tS - before.tS) / (after.tS - before.tS));
        return new float[] {
            before.x + (after.x - before.x) * fraction,
            before.y + (after.y - before.y) * fraction,
            before.z + (after.z - before.z) * fraction,
        };
    }

    private static final class Reading {
        final double tS;
        final float x;
        final float y;
        final float z;

        Reading(double tS, float x, float y, float z) {
            this.tS = tS;
            this.x = x;
            this.y = y;
            this.z = z;
        }
    }
}
