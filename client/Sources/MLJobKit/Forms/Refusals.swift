import Foundation

/// The agent's objections to the fields of a form, each for as long as its field has the value that was refused.
struct Refusals: Hashable, Sendable {
    private struct Refusal: Hashable, Sendable {
        let value: String
        let message: String
    }

    private var refused: [String: Refusal] = [:]

    mutating func add(_ field: String, _ message: String, value: String) {
        refused[field] = Refusal(value: value, message: message)
    }

    /// The objection to a field that has this value.
    func message(for field: String, value: String) -> String? {
        refused[field].flatMap { $0.value == value ? $0.message : nil }
    }
}
