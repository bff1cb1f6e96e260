/// Recognizes one stream: samples in, predictions and gaps out. Gap detection, resampling, windows, model, labels and
/// smoothing.
///
/// The twin of Python's mujo_edge.recognizer.Recognizer; golden/ tests that both give the same events. Not thread-safe:
/// push from one queue, and not from the main one.
public final class Recognizer {
    /// Seconds at the start of a gapless stretch over which its rate is measured.
    static let measureS = 1.0
    /// Largest relative difference of the measured rate at which a nominal rate is used.
    static let rateTolerance = 0.05

    /// Counts so far.
    public private(set) var stats = Stats()
    private let contract: Contract
    private let labels: LabelSet
    private let model: Model
    private let channels: Int
    private let used: Int
    private let nominalHz: Double
    private var gapDetector: GapDetector
    private var windower: Windower
    private var smoother: Smoother
    private var pending: [(tS: Double, x: [Float])] = []
    private var resampler: Resampler?
    private var stuck = false

    /// A recognizer for one stream.
    ///
    /// - Parameters:
    ///   - channels: 3 (accelerometer) or 6 (and gyroscope): length of every sample
    ///   - rateHz: requested rate, 0 if none was; the rate is measured in any case
    public init(_ contract: Contract, _ labels: LabelSet, channels: Int, rateHz: Double, model: Model) {
        let all = contract.input.channels
        precondition(channels == 3 || channels == all.count, "a stream has 3 channels (accelerometer) or \(all.count)")
        precondition(labels.isWithinLimits, "a value of the label set is outside its limits")
        self.contract = contract
        self.labels = labels
        self.model = model
        self.channels = channels
        used = min(channels, labels.channels)
        nominalHz = rateHz
        gapDetector = GapDetector(channels: Array(all[..<used]), maxGapS: contract.input.maxGapS)
        windower = Windower(contract.input, channels: used)
        smoother = Smoother(labels.smoothing)
    }

    /// Forget the samples so far, but not the counts: the next sample does not continue them.
    public func reset() {
        resampler = nil
        pending = []
        windower.reset()
        smoother.reset()
    }

    /// Take one sample -> the events that it completes, in order; mostly none. Errors of the model are passed on, after
    /// a `reset`.
    ///
    /// - Parameters:
    ///   - tS: device time in seconds
    ///   - x: acceleration in m/s2 with gravity and, with 6 channels, rotation in rad/s
    public func push(_ tS: Double, _ x: [Float]) throws -> [Event] {
        precondition(x.count == channels, "a sample has \(x.count) values instead of \(channels)")
        var events: [Event] = []
        let values = Array(x[..<used])
        guard let (at, gap) = gapDetector.check(tS, values, &stats) else { return events }
        if let gap = gap {
            events.append(.gap(gap))
            reset()
        }
        pending.append((tS: at, x: values))
        if resampler == nil && at - pending[0].tS >= Recognizer.measureS {
            resampler = Resampler(rateHz: sourceRate(measured()), toHz: contract.input.rateHz)
        }
        do {
            while resampler != nil && !pending.isEmpty {
                let sample = pending.removeFirst()
                for point in resampler!.push(sample.tS, sample.x) {
                    try add(point.at, point.x, &events)
                }
            }
        } catch {  // from the model
            reset()
            throw error
        }
        return events
    }

    /// Rate of the pending samples.
    private func measured() -> Double {
        Double(pending.count - 1) / (pending[pending.count - 1].tS - pending[0].tS)
    }

    /// The rate to resample from: the stream's or the model's nominal rate if the measured one is close, else that.
    private func sourceRate(_ measuredHz: Double) -> Double {
        let nominal = [nominalHz, contract.input.rateHz]
        return nominal.first { $0 > 0 && abs(measuredHz / $0 - 1) < Recognizer.rateTolerance } ?? measuredHz
    }

    /// Add a sample at the model's rate.
    private func add(_ tS: Double, _ point: [Double], _ events: inout [Event]) throws {
        guard windower.add(point) else { return }
        stats.windows += 1
        let wasStuck = stuck
        stuck = windower.isConstant
        if !stuck {
            events.append(.prediction(try predict(tS)))
        } else if !wasStuck {
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

    /// Normalize an embedding to length 1.
    public static func normalized(_ embedding: [Float], _ dim: Int) throws -> [Float] {
        let sum = embedding.reduce(0.0) { $0 + Double($1) * Double($1) }
        guard embedding.count == dim, sum.isFinite else {
            let text = "the model did not return \(dim) finite values; use the model file of this folder"
            throw MujoError(description: text)
        }
        let length = Float(max(sum.squareRoot(), 1e-12))
        return embedding.map { $0 / length }
    }
}
