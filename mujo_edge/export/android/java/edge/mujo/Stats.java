package edge.mujo;

/** Counts of one stream so far. */
public final class Stats {
    /** Samples that arrived. */
    public long samples;
    /** Samples dropped as not finite or beyond any sensor's range. */
    public long invalid;
    /** Samples dropped as their time did not increase. */
    public long repeated;
    /** Windows cut. */
    public long windows;
    /** Gaps reported. */
    public long gaps;

    Stats() {
    }
}
