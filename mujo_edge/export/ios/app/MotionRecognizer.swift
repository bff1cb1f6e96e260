// This file was neither compiled nor run, see README.md.
import CoreMotion
import ExecuTorch
import Foundation
import Mujo

/// student_int8.pte (XNNPACK) or student_coreml.pte (Core ML) in ExecuTorch. Not thread-safe, like its `Module`.
final class ExecuTorchModel: Model {
    private let module: Module

    init(_ file: URL) throws {
        module = Module(filePath: file.path)
        try module.load("forward")
    }

    func embed(_ window: [Float]) throws -> [Float] {
        let input = Tensor<Float>(window, shape: [1, 6, 1, window.count / 6])
        return try Tensor<Float>(module.forward(input)).scalars()
    }
}

extension CMDeviceMotion {
    /// Acceleration in m/s2 with gravity, and rotation in rad/s.
    ///
    /// Core Motion uses g, and an axis that points up reads -1 at rest; the model expects +9.81 m/s2 there.
    var sample: [Float] {
        let toSI = -9.80665
        let a = [userAcceleration.x + gravity.x, userAcceleration.y + gravity.y, userAcceleration.z + gravity.z]
        return a.map { Float($0 * toSI) } + [rotationRate.x, rotationRate.y, rotationRate.z].map { Float($0) }
    }
}

/// Recognizes the wearer's activity. `onEvent` is called on a background queue: dispatch to the main one for display.
final class MotionRecognizer {
    private let manager = CMMotionManager()
    private let queue = OperationQueue()
    private let contract: Contract
    private let recognizer: Recognizer

    /// Load mujo.json and a .pte of this folder from `bundle`.
    init(_ bundle: Bundle = .main, model name: String = "student_int8") throws {
        guard let json = bundle.url(forResource: "mujo", withExtension: "json"),
            let pte = bundle.url(forResource: name, withExtension: "pte")
        else { throw CocoaError(.fileNoSuchFile) }
        contract = try Contract.read(Data(contentsOf: json))
        let model = try ExecuTorchModel(pte)
        let rateHz = contract.input.rateHz
        recognizer = Recognizer(contract, contract.labelSet, channels: 6, rateHz: rateHz, model: model)
        queue.maxConcurrentOperationCount = 1
    }

    /// `onError` is called with errors of Core Motion and of the model.
    func start(onEvent: @escaping (Event) -> Void, onError: @escaping (Error) -> Void) {
        manager.deviceMotionUpdateInterval = 1 / contract.input.rateHz
        manager.startDeviceMotionUpdates(to: queue) { [recognizer] motion, error in
            do {
                if let error = error { throw error }
                guard let motion = motion else { return }
                try recognizer.push(motion.timestamp, motion.sample).forEach(onEvent)
            } catch {
                onError(error)
            }
        }
    }

    func stop() {
        manager.stopDeviceMotionUpdates()
    }
}

#if os(watchOS)
/// On a watch, during a workout session: batches at 200 Hz, one per second (Series 8, Ultra, and later).
@available(watchOS 10.0, *)
func recognize(_ recognizer: Recognizer, onEvent: (Event) -> Void) async throws {
    let manager = CMBatchedSensorManager()
    for try await batch in manager.deviceMotionUpdates() {
        for motion in batch {
            try recognizer.push(motion.timestamp, motion.sample).forEach(onEvent)
        }
    }
}
#endif
