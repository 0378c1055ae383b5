import Foundation

/// One row of a script's form.
public struct ParameterField: Identifiable, Hashable, Sendable {
    /// What a view shows the value with.
    public enum Control: Hashable, Sendable {
        case toggle
        case menu([String])
        /// Whole numbers between close bounds.
        case stepper(ClosedRange<Int>)
        case slider(ClosedRange<Double>)
        case text
        /// Hidden while it is typed.
        case secret
    }

    public let id: UUID
    public let parameter: Parameter
    /// A parameter that the script does not declare: its name can be changed.
    public let isFree: Bool
    public var name: String
    /// What is typed; empty for the default.
    public var value: String
    /// The agent's objection, until the value is another one.
    var refused: (value: String, message: String)?

    public init(_ parameter: Parameter, value: String? = nil) {
        id = UUID()
        self.parameter = parameter
        isFree = false
        name = parameter.name
        self.value = value ?? ""
    }

    /// A row for a script that takes any parameters.
    public init(name: String, value: String) {
        id = UUID()
        parameter = Parameter(name: name)
        isFree = true
        self.name = name
        self.value = value
    }

    public static func == (one: ParameterField, other: ParameterField) -> Bool {
        one.id == other.id && one.name == other.name && one.value == other.value
            && one.refused?.message == other.refused?.message
    }

    public func hash(into hasher: inout Hasher) { hasher.combine(id) }

    public var control: Control {
        if parameter.sensitive { return .secret }
        if !parameter.choices.isEmpty { return .menu(parameter.choices) }
        if parameter.type == .boolean { return .toggle }
        guard let low = parameter.minimum, let high = parameter.maximum, low < high else { return .text }
        if parameter.type == .integer, let low = Int(exactly: low), let high = Int(exactly: high) {
            return high - low <= 1000 ? .stepper(low...high) : .text
        }
        return parameter.type == .number ? .slider(low...high) : .text
    }

    /// What the script will read: the value, or the default.
    public var effectiveValue: String { value.isEmpty ? parameter.defaultValue ?? "" : value }

    /// Whether the value is sent. The default is the script's to apply.
    public var isGiven: Bool { !value.isEmpty }

    public var objection: String? {
        if isFree, let problem = ParameterCheck.name(name) { return "The name \(problem)." }
        if let refused, refused.value == value { return refused.message }
        if value.isEmpty { return parameter.required ? "is required" : nil }
        return ParameterCheck.objection(to: value, of: parameter)
    }

    /// The default and the bounds: `default 100, 1 to 1000`.
    public var summary: String {
        var parts: [String] = []
        if let value = parameter.defaultValue { parts.append("default \(value)") }
        switch (parameter.minimum, parameter.maximum) {
        case (let low?, let high?): parts.append("\(ParameterCheck.format(low)) to \(ParameterCheck.format(high))")
        case (let low?, nil): parts.append("at least \(ParameterCheck.format(low))")
        case (nil, let high?): parts.append("at most \(ParameterCheck.format(high))")
        case (nil, nil): break
        }
        if parameter.required { parts.append("required") }
        return parts.joined(separator: ", ")
    }
}
