import Foundation

/// The agent's own rules for a hyperparameter's value, and its words.
public enum ParameterCheck {
    public static let mostCharacters = 4096
    public static let mostParameters = 100
    public static let mostBytes = 32 * 1024

    /// What a value must be and is not; nil where the parameter takes it.
    public static func objection(to value: String, of parameter: Parameter) -> String? {
        if let problem = text(value) { return problem }
        switch parameter.type {
        case .integer:
            guard value.wholeMatch(of: /[+-]?[0-9]{1,100}/) != nil, let number = Double(value) else {
                return "must be an integer, such as 12"
            }
            if let problem = bounds(number, parameter) { return problem }
        case .number:
            let form = /[+-]?([0-9]{1,100}(\.[0-9]{0,100})?|\.[0-9]{1,100})([eE][+-]?[0-9]{1,4})?/
            guard value.wholeMatch(of: form) != nil, let number = Double(value.withLeadingZero), number.isFinite else {
                return "must be a finite number, such as 0.5 or 1e-3"
            }
            if let problem = bounds(number, parameter) { return problem }
        case .boolean:
            guard value == "true" || value == "false" else { return "must be true or false" }
        default: break
        }
        if !parameter.choices.isEmpty, !parameter.choices.contains(value) {
            return "must be one of \(parameter.choices.joined(separator: ", "))"
        }
        return nil
    }

    /// What no value may be, whatever its type.
    static func text(_ value: String) -> String? {
        if value.unicodeScalars.count > mostCharacters { return "must have \(mostCharacters) characters at most" }
        let control = value.unicodeScalars.first { $0.properties.generalCategory == .control }
        return control.map {
            let digits = String($0.value, radix: 16, uppercase: true)
            let padded = String(repeating: "0", count: max(4 - digits.count, 0)) + digits
            return "must not contain control characters (found U+\(padded))"
        }
    }

    private static func bounds(_ value: Double, _ parameter: Parameter) -> String? {
        if let minimum = parameter.minimum, value < minimum { return "must be at least \(format(minimum))" }
        if let maximum = parameter.maximum, value > maximum { return "must be at most \(format(maximum))" }
        return nil
    }

    /// With all its digits: `20221198336`, `8`, `0.5`.
    public static func format(_ value: Double) -> String {
        Int(exactly: value).map(String.init) ?? "\(value)"
    }

    /// What is wrong with the name of a parameter that no declaration has.
    static func name(_ name: String) -> String? {
        if name.wholeMatch(of: /[A-Za-z][A-Za-z0-9_]*/) == nil {
            return "must be letters, digits and _, a letter first"
        }
        return name.count > 64 ? "must have 64 characters at most" : nil
    }
}

extension String {
    /// `Double` does not read `.5`, `+.5` and `5.`.
    fileprivate var withLeadingZero: String {
        var text = self
        let sign = text.first.flatMap { "+-".contains($0) ? text.removeFirst() : nil }
        if text.first == "." { text = "0" + text }
        text = text.replacing(/\.($|[eE])/) { ".0\($0.output.1)" }
        return (sign.map(String.init) ?? "") + text
    }
}
