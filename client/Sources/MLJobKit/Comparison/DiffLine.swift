import Foundation

/// A line of a unified diff, as a view colours it.
public struct DiffLine: Identifiable, Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case added, removed, heading, context
    }

    /// Its number, from 0.
    public let id: Int
    public let kind: Kind
    public let text: String

    /// How many lines a view shows.
    public static let most = 2000

    /// The first lines of a diff.
    public static func lines(of diff: String) -> [DiffLine] {
        let lines = diff.split(separator: "\n", omittingEmptySubsequences: false).prefix(most)
        let whole = lines.last?.isEmpty ?? false ? lines.dropLast() : lines
        return whole.enumerated().map { DiffLine(id: $0, kind: kind(of: $1), text: String($1)) }
    }

    private static func kind(of line: Substring) -> Kind {
        if line.hasPrefix("+++") || line.hasPrefix("---") || line.hasPrefix("@@") { return .heading }
        if line.hasPrefix("+") { return .added }
        return line.hasPrefix("-") ? .removed : .context
    }
}

extension JobDifference {
    public struct Group: Identifiable, Hashable, Sendable {
        public var id: String { title }
        public let title: String
        public let rows: [Difference]
    }

    /// Names with both values, in groups that have any: all but the commit and the metrics.
    public var changes: [Group] {
        let groups = [
            Group(title: "Script and image", rows: [script, image].compactMap { $0 }),
            Group(title: "Packages", rows: packages ?? []),
            Group(title: "Hyperparameters", rows: hyperparameters), Group(title: "Limits", rows: limits),
            Group(title: "Inputs", rows: inputs),
        ]
        return groups.filter { !$0.rows.isEmpty }
    }

    /// Whether the two jobs ran the same in the same way.
    public var isEmpty: Bool { changes.isEmpty && commit == nil }
}

extension MetricDifference {
    /// `0.81 → 0.84 (+0.03)`; a job without the metric has `–`.
    public var words: String {
        func word(_ summary: MetricSummary?) -> String { summary.map { Self.word($0.last) } ?? "–" }
        let sides = "\(word(a)) → \(word(b))"
        guard let change else { return sides }
        return "\(sides) (\(change < 0 ? "−" : "+")\(Self.word(change.magnitude)))"
    }

    private static func word(_ value: Double) -> String {
        value.formatted(.number.precision(.significantDigits(1...6)).locale(Locale(identifier: "en_US_POSIX")))
    }
}
