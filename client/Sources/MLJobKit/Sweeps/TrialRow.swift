import Foundation

/// A trial as a row of its sweep's table.
public struct TrialRow: Identifiable, Hashable, Sendable {
    public var id: Job.ID { trial.jobID }
    public let trial: SweepTrial
    /// From 0, the best, among the trials that have completed with a value; nil for the others.
    public let rank: Int?
    /// In the order of the sweep's dimensions; empty where the trial has none.
    public let values: [String]

    public var isBest: Bool { rank == 0 }

    /// What the table shows of a parameter.
    public func value(_ dimension: Int) -> String { values.indices.contains(dimension) ? values[dimension] : "" }

    /// `max_depth 8, rate 0.1`: the parameters from that one on.
    public func words(from first: Int, names: [String]) -> String {
        zip(names, values).dropFirst(first).map { "\($0) \($1)" }.joined(separator: ", ")
    }

    /// The rows of a sweep's trials, in their order.
    public static func rows(of trials: [SweepTrial], in sweep: Sweep) -> [TrialRow] {
        let names = sweep.dimensionNames
        let ranks = ranks(of: trials, in: sweep)
        return trials.map { trial in
            TrialRow(
                trial: trial, rank: ranks[trial.jobID], values: names.map { trial.hyperparameters[$0] ?? "" })
        }
    }

    /// The first of equal trials is the better one, as it is for the agent.
    private static func ranks(of trials: [SweepTrial], in sweep: Sweep) -> [Job.ID: Int] {
        let known = trials.filter { $0.status == .completed && $0.value != nil }.sorted { one, other in
            guard let first = one.value, let second = other.value, first != second else {
                return one.trial < other.trial
            }
            return sweep.isBetter(first, than: second)
        }
        var ranks: [Job.ID: Int] = [:]
        for (rank, trial) in known.enumerated() { ranks[trial.jobID] = rank }
        return ranks
    }
}

/// One column's order of a table of trials. What has no value comes last, whichever way the others are sorted.
public struct TrialOrder: SortComparator, Hashable, Sendable {
    public enum Column: Hashable, Sendable {
        case number, status, value, duration
        case parameter(Int)
    }

    public let column: Column
    public var order: SortOrder

    public init(_ column: Column, order: SortOrder = .forward) {
        self.column = column
        self.order = order
    }

    /// The best trial first.
    public static func best(of sweep: Sweep) -> TrialOrder {
        TrialOrder(.value, order: sweep.objective.direction == .minimize ? .forward : .reverse)
    }

    public func compare(_ one: TrialRow, _ other: TrialRow) -> ComparisonResult {
        switch (key(of: one), key(of: other)) {
        case (nil, nil): .orderedSame
        case (nil, _): .orderedDescending
        case (_, nil): .orderedAscending
        case (let one?, let other?): order == .forward ? one.compare(other) : other.compare(one)
        }
    }

    private func key(of row: TrialRow) -> SortKey? {
        switch column {
        case .number: .number(Double(row.trial.trial))
        case .status: .number(Double(JobStatus.known.firstIndex(of: row.trial.status) ?? JobStatus.known.count))
        case .value: row.trial.value.map(SortKey.number)
        case .duration: row.trial.duration().map(SortKey.number)
        case .parameter(let at): row.value(at).isEmpty ? nil : SortKey(row.value(at))
        }
    }
}

extension [TrialRow] {
    /// Sorted by the columns, and then by number.
    public func sorted(by orders: [TrialOrder]) -> [TrialRow] { sorted(using: orders + [TrialOrder(.number)]) }
}

extension SweepTrial {
    /// Seconds from start to end, or to `now` while it runs; nil before its start.
    public func duration(at now: Date = Date()) -> TimeInterval? {
        startedAt.map { (finishedAt ?? now).timeIntervalSince($0) }
    }
}

/// What rows are sorted by: numbers as numbers, before words as a person reads them.
enum SortKey: Hashable, Sendable {
    case number(Double)
    case text(String)

    /// Of a value that may be either.
    init(_ text: String) { self = Double(text).map(SortKey.number) ?? .text(text) }

    func compare(_ other: SortKey) -> ComparisonResult {
        switch (self, other) {
        case (.number(let one), .number(let two)):
            one < two ? .orderedAscending : one > two ? .orderedDescending : .orderedSame
        case (.text(let one), .text(let two)): one.localizedStandardCompare(two)
        case (.number, .text): .orderedAscending
        case (.text, .number): .orderedDescending
        }
    }
}
