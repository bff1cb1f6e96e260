// Runs the streams of golden/ through the package and reports differences from Python's results.
//
//     swift run SelfTest FOLDER      with the folder that holds mujo.json and golden/; exit code 1 if anything differs
//
// The golden embeddings replace the model.
import Foundation
import Mujo

let folder = URL(fileURLWithPath: CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : ".")
let golden = folder.appendingPathComponent("golden")
var differences: [String] = []

/// Rows of a CSV file by column, in order (RFC 4180 without line breaks in a cell).
func table(_ file: String) throws -> [[(column: String, text: String)]] {
    let text = try String(contentsOf: golden.appendingPathComponent(file), encoding: .utf8)
    let lines = text.split(separator: "\n").map(cells)
    return lines.dropFirst().map { Array(zip(lines[0], $0)).map { (column: $0.0, text: $0.1) } }
}

func cells(_ line: Substring) -> [String] {
    var cells = [""]
    var quoted = false
    var previous: Character = ","
    for character in line {
        if character == "\"" {
            if !quoted && previous == "\"" { cells[cells.count - 1].append("\"") }
            quoted.toggle()
        } else if character == "," && !quoted {
            cells.append("")
        } else {
            cells[cells.count - 1].append(character)
        }
        previous = character
    }
    return cells
}

/// A row as a dictionary.
func fields(_ row: [(column: String, text: String)]) -> [String: String] {
    Dictionary(uniqueKeysWithValues: row.map { ($0.column, $0.text) })
}

/// A file of little-endian float32 -> rows of `width`.
func floats(_ file: String, _ width: Int) throws -> [[Float]] {
    let bytes = [UInt8](try Data(contentsOf: golden.appendingPathComponent(file)))
    let values = stride(from: 0, to: bytes.count - bytes.count % 4, by: 4).map { i in
        Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[i + $1]) << (8 * UInt32($1)) })
    }
    return stride(from: 0, to: values.count - values.count % width, by: width).map { Array(values[$0..<$0 + width]) }
}

func same(_ what: String, _ actual: String, _ expected: String?) {
    if actual != expected {
        differences.append("\(what) is \(actual) instead of \(expected ?? "nothing")")
    }
}

func near(_ what: String, _ actual: Double, _ expected: String?, _ tolerance: Double) {
    if !(abs(actual - (Double(expected ?? "") ?? .nan)) <= tolerance) {
        differences.append("\(what) is \(actual) instead of \(expected ?? "nothing")")
    }
}

/// Returns the golden embeddings in order, and checks that the windows are the golden ones.
final class GoldenModel: Model {
    let name: String
    let windows: [[Float]]
    let embeddings: [[Float]]
    var count = 0

    init(_ name: String, _ contract: Contract) throws {
        self.name = name
        windows = try floats("\(name).windows.f32", contract.input.channels.count * contract.input.window)
        embeddings = try floats("\(name).embeddings.f32", contract.embeddingDim)
    }

    func embed(_ window: [Float]) throws -> [Float] {
        guard count < min(windows.count, embeddings.count) else {
            throw MujoError(description: "more than \(count) windows")
        }
        let near = zip(window, windows[count]).allSatisfy { abs($0 - $1) <= 1e-5 }  // false for NaN
        if window.count != windows[count].count || !near {
            differences.append("\(name): window \(count + 1) is off by more than 1e-5")
        }
        count += 1
        return embeddings[count - 1]
    }
}

func compare(_ what: String, _ event: Event, _ expected: [String: String]) {
    switch event {
    case .prediction(let prediction):
        same("\(what)", "prediction", expected["event"])
        near("\(what): end_s", prediction.endS, expected["end_s"], 1e-6)
        same("\(what): label", prediction.label, expected["label"])
        same("\(what): raw_label", prediction.rawLabel, expected["raw_label"])
        near("\(what): score", Double(prediction.score), expected["score"], 1e-3)
    case .gap(let gap):
        same("\(what)", "gap", expected["event"])
        near("\(what): start_s", gap.startS, expected["start_s"], 1e-6)
        near("\(what): end_s", gap.endS, expected["end_s"], 1e-6)
        same("\(what): reason", gap.reason.rawValue, expected["reason"])
    }
}

func compare(_ spec: [String: String], _ contract: Contract) throws {
    guard let name = spec["name"], var labels = contract.labelSets[spec["label_set"] ?? ""],
        let method = LabelSet.Smoothing.Method(rawValue: spec["smoothing"] ?? ""),
        let stay = Double(spec["stay"] ?? ""), let windows = Int(spec["smoothing_windows"] ?? ""),
        let channels = Int(spec["channels"] ?? "")
    else {
        throw MujoError(description: "cases.csv: \(spec) cannot be read")
    }
    labels.smoothing = LabelSet.Smoothing(method: method, stay: stay, windows: windows)
    let goldenModel = try GoldenModel(name, contract)
    let rateHz = Double(spec["rate_hz"] ?? "") ?? 0
    let recognizer = Recognizer(contract, labels, channels: channels, rateHz: rateHz, model: goldenModel)
    let samples = try table("\(name).samples.csv")
    var events: [Event] = []
    for row in samples {
        let numbers = row.map { Double($0.text) ?? .nan }
        events += try recognizer.push(numbers[0], numbers.dropFirst().map { Float($0) })
    }
    let expected = try table("\(name).events.csv").map(fields)
    same("\(name): number of samples", "\(samples.count)", spec["samples"])
    same("\(name): number of predictions", "\(goldenModel.count)", spec["predictions"])
    same("\(name): number of events", "\(events.count)", "\(expected.count)")
    for (index, (event, row)) in zip(events, expected).enumerated() {
        compare("\(name): event \(index + 1)", event, row)
    }
}

do {
    let contract = try Contract.read(Data(contentsOf: folder.appendingPathComponent("mujo.json")))
    let cases = try table("cases.csv").map(fields)
    same("streams", cases.isEmpty ? "none" : "some", "some")
    for spec in cases {
        try compare(spec, contract)
    }
} catch {
    differences.append("\(error)")
}
differences.forEach { print($0) }
print(differences.isEmpty ? "passed" : "failed")
exit(differences.isEmpty ? 0 : 1)
