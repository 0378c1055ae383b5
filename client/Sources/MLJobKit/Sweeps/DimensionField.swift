import Foundation

/// A hyperparameter in the form of a sweep: fixed, or varied over some values or a range.
public struct DimensionField: Identifiable, Hashable, Sendable {
    /// How the values are given.
    public enum Kind: String, Hashable, Sendable, CaseIterable, Identifiable {
        case range, values
        public var id: String { rawValue }
    }

    public let id: UUID
    /// Nil for a parameter that the script does not declare.
    public let parameter: Parameter?
    public var name: String
    public var isVaried: Bool
    public var kind: Kind
    /// Of the declared choices.
    public var chosen: Set<String>
    /// Typed, with commas between them.
    public var values = ""
    /// What is typed; empty for the declared bound.
    public var low = ""
    public var high = ""
    public var step = ""
    public var isLogarithmic = false
    /// Of a parameter that the script does not declare.
    public var type = ParameterType.number

    public init(_ parameter: Parameter) {
        id = UUID()
        self.parameter = parameter
        name = parameter.name
        isVaried = false
        kind = parameter.type == .integer || parameter.type == .number ? .range : .values
        chosen = Set(Self.choices(of: parameter))
        if !parameter.choices.isEmpty { kind = .values }
    }

    /// A parameter that the script does not declare.
    public init(name: String) {
        id = UUID()
        parameter = nil
        self.name = name
        isVaried = true
        kind = .range
        chosen = []
    }

    public var isFree: Bool { parameter == nil }

    /// What the script says that it takes, where that is a list.
    public var choices: [String] { parameter.map(Self.choices) ?? [] }

    private static func choices(of parameter: Parameter) -> [String] {
        parameter.choices.isEmpty && parameter.type == .boolean ? ["false", "true"] : parameter.choices
    }

    /// Whether the values may be a range.
    public var mayBeRange: Bool { choices.isEmpty && parameter?.type != .string }

    /// What an empty field of a bound stands for.
    public var declaredLow: String { parameter?.minimum.map(ParameterCheck.format) ?? "" }
    public var declaredHigh: String { parameter?.maximum.map(ParameterCheck.format) ?? "" }

    /// What is sent. What is not typed follows from the script's declaration, on the host.
    public var dimension: SweepDimension {
        guard kind == .range else { return SweepDimension(values: givenValues) }
        return SweepDimension(
            type: isFree ? type : nil, low: Self.number(low), high: Self.number(high), step: Self.number(step),
            log: isLogarithmic ? true : nil)
    }

    private var givenValues: [String] {
        if !choices.isEmpty { return choices.filter(chosen.contains) }
        let parts = values.split(separator: ",", omittingEmptySubsequences: false)
        return parts.map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    /// What is wrong with it; nil also where it is not varied.
    public func objection(in strategy: SweepStrategy) -> String? {
        guard isVaried else { return nil }
        if isFree, let problem = ParameterCheck.name(name) { return "The name \(problem)." }
        if kind == .range {
            for (title, text) in [("low", low), ("high", high), ("step", step)] where !text.isEmpty {
                guard let number = Self.number(text) else { return "must have a \(title) that is a number" }
                if title == "step", number <= 0 { return "must have a step above 0" }
            }
        }
        return SpaceCheck.objection(to: dimension, of: parameter, in: strategy)
    }

    /// `2 to 32, logarithmic`; `gini, entropy`.
    public var summary: String {
        if kind == .values { return givenValues.joined(separator: ", ") }
        var words = "\(low.isEmpty ? declaredLow : low) to \(high.isEmpty ? declaredHigh : high)"
        if !step.isEmpty { words += " in steps of \(step)" }
        if isLogarithmic { words += ", logarithmic" }
        return words
    }

    private static func number(_ text: String) -> Double? {
        Double(text.trimmingCharacters(in: .whitespaces)).flatMap { $0.isFinite ? $0 : nil }
    }
}
