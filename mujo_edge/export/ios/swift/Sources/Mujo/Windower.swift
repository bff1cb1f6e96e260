/// Buffers the last samples at the model's rate and prepares the model's input.
struct Windower {
    private let input: Contract.Input
    private var x: [[Float]]

    init(_ input: Contract.Input, channels: Int) {
        self.input = input
        x = Array(repeating: [], count: channels)
    }

    /// Forget the samples so far: the next one does not continue them.
    mutating func reset() {
        x = Array(repeating: [], count: x.count)
    }

    /// Add a sample -> whether the window is full; then call `slide` before the next one.
    mutating func add(_ sample: [Double]) -> Bool {
        for c in x.indices {
            x[c].append(Float(sample[c]))
        }
        return x[0].count == input.window
    }

    /// Drop the oldest `hop` samples, so that `hop` more complete the next window.
    mutating func slide() {
        for c in x.indices {
            x[c].removeFirst(input.hop)
        }
    }

    /// Whether the accelerometer repeats one value for the whole window.
    var isConstant: Bool {
        x[..<3].allSatisfy { channel in channel.allSatisfy { $0 == channel[0] } }
    }

    /// The model's input: scaled, clipped, zeros where there is no gyroscope.
    var prepared: [Float] {
        var prepared: [Float] = []
        for (channel, scale) in zip(x, input.scale) {
            prepared += channel.map { max(-input.clip, min(input.clip, $0 / scale)) }
        }
        let missing = (input.channels.count - x.count) * input.window
        return prepared + Array(repeating: 0, count: missing)
    }
}
