/// The network in a runtime such as ExecuTorch, LiteRT or ONNX Runtime.
public protocol Model {
    /// 6 * T prepared values, channel by channel (ax, ay, az, gx, gy, gz): the model's input -> its raw output of
    /// D values; the recognizer normalizes it.
    func embed(_ window: [Float]) throws -> [Float]
}

/// An unsuitable model or mujo.json.
public struct MujoError: Error, CustomStringConvertible {
    public let description: String
}
