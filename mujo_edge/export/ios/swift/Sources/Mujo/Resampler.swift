import Foundation

/// Resamples a stream: samples with device times in, samples on a uniform grid out.
///
/// Samples at exactly the model's rate pass unchanged. Jitter and missing samples are interpolated linearly. A faster
/// source is interpolated on a grid of its own rate, then low-passed: a delay of half a kernel (80 ms at 50 Hz).
struct Resampler {
    /// Times this close to a multiple of the interval are snapped to it, which undoes the rounding of decimal files.
    static let snapS = 20e-6

    /// Value of every channel at a time in seconds, or at a position in samples.
    typealias Point = (at: Double, x: [Double])

    private let rateHz: Double
    private let toHz: Double
    private let kernel: [Double]
    private var even = Polyline(numerator: 1, denominator: 1)
    private var output: Polyline
    private var delayed: [[Double]] = []
    private var startS: Double?
    private var filtered = 0

    init(rateHz: Double, toHz: Double) {
        self.rateHz = rateHz
        self.toHz = toHz
        kernel = rateHz > toHz ? Resampler.lowpass(rateHz, toHz) : []
        output = Polyline(numerator: rateHz, denominator: toHz)
    }

    /// Odd-length windowed-sinc low-pass at 0.45 * toHz for samples at rateHz (sinc, Hamming window); sums to 1.
    static func lowpass(_ rateHz: Double, _ toHz: Double) -> [Double] {
        let half = Int((4 * rateHz / toHz).rounded(.up))
        let kernel: [Double] = (-half...half).map { (i: Int) -> Double in
            let angle = Double.pi * 0.9 * toHz / rateHz * Double(i)
            let sinc = i == 0 ? 1 : sin(angle) / angle
            return sinc * (0.54 + 0.46 * cos(Double.pi * Double(i) / Double(half)))
        }
        let sum = kernel.reduce(0, +)
        return kernel.map { $0 / sum }
    }

    /// Add a sample, later than the last by at most the longest gap -> (seconds, values) of the points it completes.
    mutating func push(_ tS: Double, _ x: [Float]) -> [Point] {
        let start = startS ?? tS
        startS = start
        var u = (tS - start) * rateHz
        let whole = u.rounded(.toNearestOrEven)
        if abs(u - whole) <= Resampler.snapS * rateHz {
            u = whole
        }
        let y = x.map { Double($0) }
        var points: [Point] = []
        if kernel.isEmpty {
            points = output.add(u, y)
        } else {
            for point in even.add(u, y) {
                points += filter(point.x)
            }
        }
        return points.map { (at: start + $0.at / toHz, x: $0.x) }
    }

    /// Low-pass one evenly spaced sample; the first one is repeated as padding.
    private mutating func filter(_ x: [Double]) -> [Point] {
        if delayed.isEmpty {
            delayed = Array(repeating: x, count: kernel.count / 2)
        }
        delayed.append(x)
        if delayed.count < kernel.count {
            return []
        }
        var y = Array(repeating: 0.0, count: x.count)
        for (weight, past) in zip(kernel.reversed(), delayed) {
            for c in y.indices {
                y[c] += weight * past[c]
            }
        }
        delayed.removeFirst()
        filtered += 1
        return output.add(Double(filtered - 1), y)
    }
}

/// Linear interpolation of a stream of knots at k * numerator / denominator for k = 0, 1, 2, ...
struct Polyline {
    private let numerator: Double
    private let denominator: Double
    private var next = 0.0
    private var last: Resampler.Point?

    init(numerator: Double, denominator: Double) {
        self.numerator = numerator
        self.denominator = denominator
    }

    /// Add a knot at an increasing position, 0 at first -> (k, values) of the points that are now covered.
    mutating func add(_ u: Double, _ x: [Double]) -> [Resampler.Point] {
        var points: [Resampler.Point] = []
        while next * numerator / denominator <= u {
            points.append((at: next, x: between(next * numerator / denominator, u, x)))
            next += 1
        }
        last = (at: u, x: x)
        return points
    }

    private func between(_ at: Double, _ u: Double, _ x: [Double]) -> [Double] {
        guard let last = last, at < u else { return x }
        return zip(last.x, x).map { before, after in before + (after - before) / (u - last.at) * (at - last.at) }
    }
}
