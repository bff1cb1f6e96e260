/// The network, in whatever runtime: ExecuTorch, LiteRT, ONNX Runtime.
public protocol Model {
    /// 6 * T prepared values, channel by channel (ax, ay, az, gx, gy, gz): the model's input -> its output, D values as
    /// they come; the recognizer makes their length 1.
    func embed(_ window: [Float]) throws -> [Float]
}

/// A model or mujo.json that is not what it should be.
public struct MujoError: Error, CustomStringConvertible {
    public let description: String
}
