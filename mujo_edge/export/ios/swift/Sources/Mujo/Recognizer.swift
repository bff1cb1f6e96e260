/// Samples of one stream in, predictions and gaps out: clock, resampling, windows, model, labels, smoothing.
///
/// Does what mujo_edge.Recognizer does in Python; golden/ holds both to the same events. Not thread-safe: push from one
/// queue, and not from the main one.
public final class Recognizer {
    /// Signal at the start of every even stretch from which its rate is measured.
    static let measureS = 1.0
    /// A nominal rate stands when the measured one differs by less than this share.
    static let believed = 0.05

    /// Counts so far.
    public private(set) var stats = Stats()
    private let contract: Contract
    private let labels: LabelSet
    private let model: Model
    private let channels: Int
    private let used: Int
    private let nominalHz: Double
    private var clock: GapDetector
    private var windower: Windower
    private var smoother: Smoother
    private var held: [(tS: Double, x: [Float])] = []
    private var resampler: Resampler?
    private var stuck = false

    /// A recognizer for one stream.
    ///
    /// - Parameters:
    ///   - channels: 3 (accelerometer) or 6 (and gyroscope): length of every sample
    ///   - rateHz: rate that was asked for, 0 if none was; it is measured in any case
    public init(_ contract: Contract, _ labels: LabelSet, channels: Int, rateHz: Double, model: Model) {
        let all = contract.input.channels
        precondition(channels == 3 || channels == all.count, "a stream has 3 channels (accelerometer) or \(all.count)")
        self.contract = contract
        self.labels = labels
        self.model = model
        self.channels = channels
        used = min(channels, labels.channels)
        nominalHz = rateHz
        clock = GapDetector(channels: Array(all[..<used]), maxGapS: contract.input.maxGapS)
        windower = Windower(contract.input, channels: used)
        smoother = Smoother(labels.smoothing)
    }

    /// Forget the samples so far, but not the counts: what comes next is not continuous with them.
    public func reset() {
        resampler = nil
        held = []
        windower.reset()
        smoother.reset()
    }

    /// Take one sample -> what it completes, in order; mostly nothing. What the model throws comes through; then the
    /// stream begins anew, as after `reset`.
    ///
    /// - Parameters:
    ///   - tS: device time in seconds
    ///   - x: acceleration in m/s2 with gravity and, with 6 channels, rotation in rad/s
    public func push(_ tS: Double, _ x: [Float]) throws -> [Event] {
        precondition(x.count == channels, "a sample has \(x.count) values instead of \(channels)")
        var events: [Event] = []
        let values = Array(x[..<used])
        guard let (at, gap) = clock.check(tS, values, &stats) else { return events }
        if let gap = gap {
            events.append(.gap(gap))
            reset()
        }
        held.append((tS: at, x: values))
        if resampler == nil && at - held[0].tS >= Recognizer.measureS {
            resampler = Resampler(rateHz: settle(measured()), toHz: contract.input.rateHz)
        }
        do {
            while resampler != nil && !held.isEmpty {
                let sample = held.removeFirst()
                for point in resampler!.push(sample.tS, sample.x) {
                    try add(point.at, point.x, &events)
                }
            }
        } catch {  // of the model
            reset()
            throw error
        }
        return events
    }

    /// Rate of the stretch that is held.
    private func measured() -> Double {
        Double(held.count - 1) / (held[held.count - 1].tS - held[0].tS)
    }

    /// The rate to resample from: a nominal one, the stream's or the model's, that the measured one bears out.
    private func settle(_ measuredHz: Double) -> Double {
        for hz in [nominalHz, contract.input.rateHz] where hz > 0 && abs(measuredHz / hz - 1) < Recognizer.believed {
            return hz
        }
        return measuredHz
    }

    /// A point at the model's rate.
    private func add(_ tS: Double, _ point: [Double], _ events: inout [Event]) throws {
        guard windower.add(point) else { return }
        stats.windows += 1
        let before = stuck
        stuck = windower.isConstant
        if !stuck {
            events.append(.prediction(try predict(tS)))
        } else if !before {
            smoother.reset()
            stats.gaps += 1
            let lengthS = Double(contract.input.window - 1) / contract.input.rateHz
            events.append(.gap(Gap(startS: tS - lengthS, endS: tS, reason: .constant)))
        }
        windower.slide()
    }

    private func predict(_ endS: Double) throws -> Prediction {
        let embedding = try Recognizer.normalized(model.embed(windower.prepared), contract.embeddingDim)
        let p = labels.probabilities(embedding)
        let smoothed = smoother.update(p)
        let best = LabelSet.best(smoothed)
        return Prediction(
            endS: endS,
            label: labels.names[best],
            score: smoothed[best],
            rawLabel: labels.names[LabelSet.best(p)],
            scores: smoothed,
            embedding: embedding
        )
    }

    /// Made of length 1.
    public static func normalized(_ embedding: [Float], _ dim: Int) throws -> [Float] {
        let sum = embedding.reduce(0.0) { $0 + Double($1) * Double($1) }
        guard embedding.count == dim, sum.isFinite else {
            throw MujoError(description: "the model did not give \(dim) finite values; is it the file of this folder?")
        }
        let length = Float(max(sum.squareRoot(), 1e-12))
        return embedding.map { $0 / length }
    }
}
