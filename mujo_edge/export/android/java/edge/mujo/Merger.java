package edge.mujo;

import java.util.ArrayDeque;

/**
 * Accelerometer and gyroscope, which Android sends apart, into samples of six channels: the gyroscope is interpolated
 * linearly at the times of the accelerometer.
 *
 * <p>A sample goes out once the gyroscope has reached its time. Its rotation is NaN, which the recognizer counts as
 * invalid, where the gyroscope has no values on both sides close enough, or does not come for 5 s.
 */
public final class Merger {
    /** Neighbors further apart are not interpolated between: the step beyond which the clock sees a gap as well. */
    private static final double BRIDGE_S = 0.25;
    /** Longer than a batch of any sensor. */
    private static final double WAIT_S = 5;
    /** Values that are held of each sensor at most, whatever their times say. */
    private static final int LIMIT = 4096;

    /** Takes the samples. */
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

    /** Rotation in rad/s. What does not follow in time is dropped, unless the clock started again. */
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
            float[] turn = reached ? rotation(first.tS) : new float[] {Float.NaN, Float.NaN, Float.NaN};
            out.take(first.tS, new float[] {first.x, first.y, first.z, turn[0], turn[1], turn[2]});
        }
    }

    /** Whether no rotation that is still to come can change the value at a time. */
    private boolean reached(double tS) {
        return !rotations.isEmpty() && rotations.getLast().tS >= tS && rotations.getFirst().tS - tS <= WAIT_S;
    }

    /** Rotation at a time that was reached; what lies before that time's neighbors is let go. */
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
        float share = (float) ((tS - before.tS) / (after.tS - before.tS));
        return new float[] {
            before.x + (after.x - before.x) * share,
            before.y + (after.y - before.y) * share,
            before.z + (after.z - before.z) * share,
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
