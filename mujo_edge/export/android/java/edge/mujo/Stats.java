package edge.mujo;

/** Running counts of one stream. */
public final class Stats {
    /** Samples that came. */
    public long samples;
    /** Of them dropped: not finite, or beyond any sensor's range. */
    public long invalid;
    /** Of them dropped: time did not increase. */
    public long repeated;
    /** Windows cut. */
    public long windows;
    /** Gaps shown. */
    public long gaps;

    Stats() {
    }
}
