/// Smooths the class probabilities of consecutive windows.
///
/// "hmm": forward filter; a class stays with probability `stay` and else changes to any other with equal probability
/// (Rabiner 1989, eq. 20, normalized at every step). "majority": the fraction of the last windows in which a class was
/// the likeliest; the newest has a weight of 1.5, which breaks ties. "none": unchanged.
struct Smoother {
    private let smoothing: LabelSet.Smoothing
    private var votes: [Int] = []
    private var belief: [Float]?

    init(_ smoothing: LabelSet.Smoothing) {
        self.smoothing = smoothing
    }

    /// Forget the windows so far: the next one does not continue them.
    mutating func reset() {
        votes = []
        belief = nil
    }

    /// Probabilities of one window -> smoothed probabilities.
    mutating func update(_ p: [Float]) -> [Float] {
        switch smoothing.method {
        case .hmm: return filter(p)
        case .majority: return vote(p)
        case .none: return p
        }
    }

    private mutating func filter(_ p: [Float]) -> [Float] {
        var weights = p.map { max($0, 1e-6) }  // never zero, from which the filter could not recover
        if let belief = belief {
            let stay = Float(smoothing.stay)
            for k in weights.indices {
                weights[k] *= stay * belief[k] + (1 - stay) / Float(p.count - 1) * (1 - belief[k])
            }
        }
        let filtered = Smoother.normalized(weights)
        belief = filtered
        return filtered
    }

    private mutating func vote(_ p: [Float]) -> [Float] {
        votes.append(LabelSet.best(p))
        if votes.count > smoothing.windows {
            votes.removeFirst()
        }
        var counts = Array(repeating: Float(0), count: p.count)
        for vote in votes {
            counts[vote] += 1
        }
        counts[votes[votes.count - 1]] += 0.5
        return Smoother.normalized(counts)
    }

    private static func normalized(_ weights: [Float]) -> [Float] {
        let sum = weights.reduce(0, +)
        return weights.map { $0 / sum }
    }
}
