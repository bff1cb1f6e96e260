import Foundation

/// Classes for one placement. Another label set works with the same model: it is only data in mujo.json.
public struct LabelSet: Decodable {
    /// Label of a window that fits no class.
    public static let unknown = "unknown"

    let labels: [String]
    public let placement: String
    /// 3: only the accelerometer; 6: also the gyroscope, where the stream has one.
    public let channels: Int
    let temperature: Double
    let unknownThreshold: Double
    public var smoothing: Smoothing
    /// One L2-normalized row per label.
    let prototypes: [[Float]]

    public struct Smoothing: Decodable {
        public var method: Method
        public var stay: Double
        public var windows: Int

        public enum Method: String, Decodable {
            case hmm, majority, none
        }

        public init(method: Method, stay: Double, windows: Int) {
            self.method = method
            self.stay = stay
            self.windows = windows
        }

        enum CodingKeys: String, CodingKey {
            case method = "method"
            case stay = "stay"
            case windows = "windows"
        }
    }

    enum CodingKeys: String, CodingKey {
        case labels = "labels"
        case placement = "placement"
        case channels = "channels"
        case temperature = "temperature"
        case unknownThreshold = "unknown_threshold"
        case smoothing = "smoothing"
        case prototypes = "prototypes"
    }

    /// The labels in the order of the prototypes, then "unknown".
    public var names: [String] { labels + [LabelSet.unknown] }

    func fits(dim: Int) -> Bool {
        isWithinLimits && prototypes.count == labels.count && prototypes.allSatisfy { $0.count == dim }
    }

    /// Whether every value is within the limits of mujo.json; comparisons are false for NaN.
    var isWithinLimits: Bool {
        !labels.isEmpty && (channels == 3 || channels == 6) && temperature >= 1e-6 && temperature <= 1e6
            && abs(unknownThreshold) <= 1.01 && smoothing.stay >= 0 && smoothing.stay <= 1 && smoothing.windows >= 1
    }

    /// Probabilities of the labels, then of "unknown": softmax(cosine / temperature), where "unknown" is one more class
    /// whose cosine is always the threshold.
    func probabilities(_ embedding: [Float]) -> [Float] {
        var cosines = prototypes.map { row in Double(zip(row, embedding).reduce(Float(0)) { $0 + $1.0 * $1.1 }) }
        cosines.append(unknownThreshold)
        let largest = cosines.max()!
        let weights = cosines.map { exp(($0 - largest) / temperature) }
        let sum = weights.reduce(0, +)
        return weights.map { Float($0 / sum) }
    }

    /// Index of the largest value; the first of equal ones.
    static func best(_ p: [Float]) -> Int {
        var best = 0
        for k in p.indices where p[k] > p[best] {
            best = k
        }
        return best
    }
}
