/// What a stream gives, in order.
public enum Event {
    case prediction(Prediction)
    case gap(Gap)
}

/// One recognized window, which ends at device time `endS`.
public struct Prediction {
    public let endS: Double
    /// Smoothed label, to be shown, and its probability.
    public let label: String
    public let score: Float
    /// Label of the window alone.
    public let rawLabel: String
    /// Smoothed probability of every label of the set and, last, of "unknown".
    public let scores: [Float]
    /// The window's embedding, of length 1.
    public let embedding: [Float]
}

/// A stretch without usable signal, from the last good sample to the next, in device time.
public struct Gap {
    public let startS: Double
    public let endS: Double
    public let reason: Reason

    public enum Reason: String {
        /// No samples came.
        case missing
        /// They were not finite or not possible.
        case invalid
        /// Device time went backwards.
        case clock
        /// One value for a whole window: a sensor that sleeps or is stuck.
        case constant
    }
}

/// Running counts of one stream.
public struct Stats {
    /// Samples that came.
    public internal(set) var samples = 0
    /// Of them dropped: not finite, or beyond any sensor's range.
    public internal(set) var invalid = 0
    /// Of them dropped: time did not increase.
    public internal(set) var repeated = 0
    /// Windows cut.
    public internal(set) var windows = 0
    /// Gaps shown.
    public internal(set) var gaps = 0
}
