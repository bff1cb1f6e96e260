/// Checks the times and values of samples: good ones pass, others are dropped and counted.
///
/// Dropped as invalid: values and times that are not finite or out of range. Dropped as repeated: samples whose time
/// does not increase, by up to the longest gap. A longer step backwards means that the clock wrapped or restarted: from
/// there on time is shifted, to continue one such gap after the last good sample.
struct GapDetector {
    /// Smallest step of time between samples: no sensor is faster.
    static let minStepS = 100e-6
    /// Largest plausible time (the year 2286 of Unix time); beyond it a Double cannot resolve the sample interval.
    static let latestS = 1e10

    private let limits: [Float]
    private let maxGapS: Double
    private var offsetS = 0.0
    private var lastS: Double?
    private var sawInvalid = false

    init(channels: [String], maxGapS: Double) {
        self.maxGapS = maxGapS
        limits = channels.map(GapDetector.limit)
    }

    /// |value| that no wearable sensor exceeds: 1000 m/s2 (100 g) and 100 rad/s (5700 deg/s).
    static func limit(_ channel: String) -> Float {
        switch channel.first {
        case "a": return 1000
        case "g": return 100
        default: return .infinity
        }
    }

    /// Time of a good sample and the gap before it, nil for a sample to drop.
    mutating func check(_ tS: Double, _ x: [Float], _ stats: inout Stats) -> (tS: Double, gap: Gap?)? {
        stats.samples += 1
        guard abs(tS) <= GapDetector.latestS, zip(x, limits).allSatisfy({ abs($0) <= $1 }) else {  // false for NaN
            stats.invalid += 1
            sawInvalid = true
            return nil
        }
        var t = tS + offsetS
        var gap: Gap?
        if let lastS = lastS {
            let step = t - lastS
            if step >= -maxGapS && step < GapDetector.minStepS {
                stats.repeated += 1
                return nil
            }
            if step < 0 {
                offsetS += maxGapS - step
                t += maxGapS - step
                gap = Gap(startS: lastS, endS: t, reason: .clock)
            } else if step > maxGapS {
                gap = Gap(startS: lastS, endS: t, reason: sawInvalid ? .invalid : .missing)
            }
        }
        stats.gaps += gap == nil ? 0 : 1
        lastS = t
        sawInvalid = false
        return (t, gap)
    }
}
