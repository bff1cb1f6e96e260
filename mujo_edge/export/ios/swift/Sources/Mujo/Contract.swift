import Foundation

/// mujo.json: the description of the model and its label sets.
public struct Contract: Decodable {
    public let schemaVersion: Int
    public let bundle: String
    public let version: String
    public let input: Input
    /// Number of values of the model's output.
    public let embeddingDim: Int
    public let labelSets: [String: LabelSet]
    public let defaultLabelSet: String

    public struct Input: Decodable {
        /// ax, ay, az in m/s2 with gravity, gx, gy, gz in rad/s; right-handed sensor frame.
        public let channels: [String]
        public let rateHz: Double
        /// Samples in a window, and between the starts of consecutive windows.
        public let window: Int
        public let hop: Int
        /// Divisor of each channel; afterwards values are clipped to +-clip.
        let scale: [Float]
        let clip: Float
        let maxGapS: Double

        enum CodingKeys: String, CodingKey {
            case channels = "channels"
            case rateHz = "rate_hz"
            case window = "window"
            case hop = "hop"
            case scale = "scale"
            case clip = "clip"
            case maxGapS = "max_gap_s"
        }
    }

    enum CodingKeys: String, CodingKey {
        case schemaVersion = "schema_version"
        case bundle = "bundle"
        case version = "version"
        case input = "input"
        case embeddingDim = "embedding_dim"
        case labelSets = "label_sets"
        case defaultLabelSet = "default_label_set"
    }

    /// Read mujo.json. Throws `MujoError`, or `DecodingError` where a value is missing or of another type.
    public static func read(_ json: Data) throws -> Contract {
        let contract = try JSONDecoder().decode(Contract.self, from: json)
        guard contract.schemaVersion == 1 else {
            throw MujoError(description: "mujo.json has schema \(contract.schemaVersion), this code reads 1")
        }
        let input = contract.input
        let sets = contract.labelSets
        guard [3, 6].contains(input.channels.count), input.scale.count == input.channels.count,
            input.scale.allSatisfy({ $0 > 0 && $0.isFinite }), input.clip > 0, input.clip.isFinite, input.rateHz > 0,
            input.rateHz.isFinite, input.maxGapS > 0, input.maxGapS.isFinite, input.hop >= 1, input.hop <= input.window,
            contract.embeddingDim >= 1, sets[contract.defaultLabelSet] != nil,
            sets.values.allSatisfy({ $0.fits(dim: contract.embeddingDim) })
        else {
            throw MujoError(description: "mujo.json is inconsistent; export again")
        }
        return contract
    }

    /// The default label set.
    public var labelSet: LabelSet { labelSets[defaultLabelSet]! }
}
