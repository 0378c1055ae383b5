import Foundation

/// The agent's own rules for the space of a sweep, and its words.
public enum SpaceCheck {
    public static let mostDimensions = 20
    public static let mostValues = 100
    /// Beyond it, strategies, which count in floating point, would miss integers.
    static let mostInteger = 9_007_199_254_740_992.0  // 2^53
    /// Points of a dimension, beyond which nobody counts.
    static let many = 1_000_000_000

    /// What is wrong with a dimension; nil where the script takes all its values. `parameter` is nil for one that the
    /// script does not declare.
    public static func objection(
        to asked: SweepDimension, of parameter: Parameter?, in strategy: SweepStrategy
    ) -> String? {
        do {
            let dimension = try resolved(asked, parameter)
            if strategy == .grid { _ = try points(of: dimension) }
            return nil
        } catch {
            return error.message
        }
    }

    /// How many points a grid of this space has: at most `many`. Nil where a dimension is not right.
    public static func gridPoints(_ space: [(SweepDimension, Parameter?)]) -> Int? {
        var product = 1
        for (asked, parameter) in space {
            guard let dimension = try? resolved(asked, parameter), let count = try? points(of: dimension) else {
                return nil
            }
            product = min(product * count, many)
        }
        return product
    }

    struct Refusal: Error {
        let message: String
        init(_ message: String) { self.message = message }
    }

    // MARK: One dimension

    /// The dimension with what follows from the declaration.
    static func resolved(_ asked: SweepDimension, _ parameter: Parameter?) throws(Refusal) -> SweepDimension {
        if let values = asked.values ?? (asked == SweepDimension() ? declared(parameter) : nil) {
            try check(values)
            for value in values { try check(value, parameter) }
            return SweepDimension(values: values)
        }
        let kind = if let type = asked.type { type } else { try declaredType(of: parameter) }
        let dimension = SweepDimension(
            type: kind, low: asked.low ?? parameter?.minimum, high: asked.high ?? parameter?.maximum, step: asked.step,
            log: asked.log)
        let (low, high) = try bounds(of: dimension)
        for bound in [low, high] { try check(text(bound, kind), parameter) }
        return dimension
    }

    private static func declared(_ parameter: Parameter?) -> [String]? {
        guard let parameter else { return nil }
        if !parameter.choices.isEmpty { return parameter.choices }
        return parameter.type == .boolean ? ["false", "true"] : nil
    }

    private static func check(_ values: [String]) throws(Refusal) {
        if values.isEmpty { throw Refusal("must have at least one value") }
        if values.count > mostValues { throw Refusal("must have \(mostValues) values at most") }
        if Set(values).count < values.count { throw Refusal("must not have a value twice") }
    }

    private static func check(_ value: String, _ parameter: Parameter?) throws(Refusal) {
        if let objection = ParameterCheck.objection(to: value, of: parameter ?? Parameter(name: "")) {
            throw Refusal("has \(value), which \(objection)")
        }
    }

    private static func declaredType(of parameter: Parameter?) throws(Refusal) -> ParameterType {
        guard let parameter else { throw Refusal("must have values, or a type: the script does not declare it") }
        guard parameter.type == .integer || parameter.type == .number else {
            throw Refusal("must have values: the script takes a \(parameter.type)")
        }
        return parameter.type
    }

    private static func bounds(of dimension: SweepDimension) throws(Refusal) -> (Double, Double) {
        guard let low = dimension.low, let high = dimension.high else {
            var missing: [String] = []
            if dimension.low == nil { missing.append("low") }
            if dimension.high == nil { missing.append("high") }
            let words = missing.joined(separator: " and ")
            throw Refusal("must have \(words), which the script does not declare, or values")
        }
        if low > high { throw Refusal("must have a low that is at most its high") }
        if !(high - low).isFinite { throw Refusal("must have a low and a high whose difference is finite") }
        try checkStep(dimension, low, high)
        return (low, high)
    }

    private static func checkStep(_ dimension: SweepDimension, _ low: Double, _ high: Double) throws(Refusal) {
        let isWhole = [low, high, dimension.step ?? 1].allSatisfy {
            $0.rounded() == $0 && $0.magnitude <= mostInteger
        }
        if dimension.type == .integer, !isWhole {
            throw Refusal("must have whole numbers, of at most \(ParameterCheck.format(mostInteger))")
        }
        let isLogarithmic = dimension.log ?? false
        if isLogarithmic, dimension.step != nil { throw Refusal("must have either step or log, not both") }
        if isLogarithmic, low <= 0 { throw Refusal("must have a low above 0 to be logarithmic") }
        if let step = dimension.step, step > high - low { throw Refusal("must have a step that is at most high - low") }
    }

    /// A number as hyperparameters have it: an integer without a point, any other with one.
    private static func text(_ value: Double, _ type: ParameterType) -> String {
        type == .integer ? ParameterCheck.format(value) : "\(value)"
    }

    // MARK: A grid

    /// How many values a grid has of a dimension, in decimal numbers: a step of 0.1 goes ten times into 1.
    static func points(of dimension: SweepDimension) throws(Refusal) -> Int {
        if let values = dimension.values { return values.count }
        if dimension.log ?? false { throw Refusal("must not be logarithmic in a grid; list its values") }
        if dimension.step == nil, dimension.type == .number { throw Refusal("must have a step in a grid, or values") }
        guard let low = decimal(dimension.low), let high = decimal(dimension.high),
            let step = decimal(dimension.step ?? 1), step > 0
        else { return many }
        let steps = NSDecimalNumber(decimal: (high - low) / step).doubleValue
        return steps < Double(many) ? Int(steps.rounded(.down)) + 1 : many
    }

    private static func decimal(_ number: Double?) -> Decimal? {
        number.flatMap { Decimal(string: "\($0)", locale: Locale(identifier: "en_US_POSIX")) }
    }
}
