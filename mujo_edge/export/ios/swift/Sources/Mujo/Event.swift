/// A result of a stream: a prediction or a gap.
public enum Event {
    case prediction(Prediction)
    case gap(Gap)
}

/// One recognized window, which ends at device time `endS`.
public struct Prediction {
    public let endS: Double
    /// Smoothed label, which the user sees, and its probability.
    public let label: String
    public let score: Float
    /// Label of the window alone.
    public let rawLabel: String
    /// Smoothed probabilities of the labels of the set, then of "unknown".
    public let scores: [Float]
    /// The window's embedding, L2-normalized.
    public let embedding: [Float]
}

/// A stretch without usable signal, from the last good sample to the next, in device time.
public struct Gap {
    public let startS: Double
    public let endS: Double
    public let reason: Reason

    public enum Reason: String {
        /// No samples arrived.
        case missing
        /// Values were not finite or out of range.
        case invalid
        /// Device time went backwards.
        case clock
        /// One value for a whole window: the sensor sleeps or is stuck.
        case constant
    }
}

/// Counts of one stream so far.
public struct Stats {
    /// Samples that arrived.
    public internal(set) var samples = 0
    /// Samples dropped as not finite or beyond any sensor's range.
    public internal(set) var invalid = 0
    /// Samples dropped as their time did not increase.
    public internal(set) var repeated = 0
    /// Windows cut.
    public internal(set) var windows = 0
    /// Gaps reported.
    public internal(set) var gaps = 0
}
