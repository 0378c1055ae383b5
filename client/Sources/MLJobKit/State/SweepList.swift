import Foundation
import Observation

/// The sweeps that one may see, changing by themselves.
@MainActor @Observable
public final class SweepList {
    /// By id: the newest, and as far back as was asked for.
    public private(set) var sweeps: [Sweep.ID: Sweep] = [:]
    /// Whether there are older sweeps that `loadOlder` would fetch.
    public private(set) var hasOlder = true
    public private(set) var isLoadingOlder = false
    public var search = ""
    public var sortOrder: [KeyPathComparator<Sweep>] = [KeyPathComparator(\.createdAt, order: .reverse)]

    /// Called with each sweep that is new or has changed.
    @ObservationIgnored public var onChange: ((Sweep) -> Void)?
    @ObservationIgnored private let agent: Agent
    @ObservationIgnored private var cursor: String?

    public init(agent: Agent) { self.agent = agent }

    /// The sweeps that pass the search, in order.
    public var visible: [Sweep] {
        let words = JobIndex.words(search)
        let found = words.isEmpty ? Array(sweeps.values) : sweeps.values.filter { $0.has(words) }
        return found.sorted(using: sortOrder + [KeyPathComparator(\.id)])
    }

    /// Those that make trials, or could.
    public var activeCount: Int { sweeps.values.count { !$0.status.isFinal } }

    /// The newest sweep of a script.
    public func latest(of script: Script.ID) -> Sweep? {
        sweeps.values.filter { $0.scriptName == script }.max { $0.createdAt < $1.createdAt }
    }

    /// A sweep as the stream or an answer gave it. An older state than the known one is passed over.
    public func insert(_ sweep: Sweep) {
        let known = sweeps[sweep.id]
        guard sweep != known, sweep.revision >= known?.revision ?? 0 else { return }
        sweeps[sweep.id] = sweep
        onChange?(sweep)
    }

    /// The sweep's record was removed.
    public func forget(_ id: Sweep.ID) { sweeps[id] = nil }

    /// What was known counts no more: the stream tells the newest anew.
    public func reset() { (sweeps, cursor, hasOlder) = ([:], nil, true) }

    /// The next page of sweeps, newest first.
    public func loadOlder() async throws {
        guard !isLoadingOlder, hasOlder else { return }
        isLoadingOlder = true
        defer { isLoadingOlder = false }
        let page = try await agent.sweeps(cursor: cursor)
        for sweep in page.sweeps { insert(sweep) }
        (cursor, hasOlder) = (page.nextCursor, page.nextCursor != nil)
    }
}

extension Sweep {
    /// Trials that have ended, in whatever way.
    public var ended: Int { completed + pruned + failed + cancelled }
    /// From 0 to 1.
    public var progress: Double { trials > 0 ? min(Double(ended) / Double(trials), 1) : 0 }
    /// `23 of 60, 4 wait or run, 3 pruned, 1 failed`.
    public var progressWords: String {
        let counts: [(Int, String)] = [
            (unfinished, "wait or run"), (pruned, "pruned"), (failed, "failed"), (cancelled, "cancelled"),
        ]
        var words = ["\(ended) of \(trials)"]
        for (count, name) in counts where count > 0 { words.append("\(count) \(name)") }
        return words.joined(separator: ", ")
    }

    public var canPause: Bool { status == .running }
    public var canResume: Bool { status == .paused }
    public var canCancel: Bool { status == .running || status == .paused }
    /// One may give a sweep more trials while it runs, and after it has completed.
    public var canExtend: Bool { (canCancel || status == .completed) && trials < Self.mostTrials }
    public static let mostTrials = 1000

    /// What a table sorts by.
    public var sortableStatus: Int { SweepStatus.known.firstIndex(of: status) ?? SweepStatus.known.count }

    /// Names of the hyperparameters that differ, in one order everywhere: the record has none.
    public var dimensionNames: [String] { space.keys.sorted { $0.localizedStandardCompare($1) == .orderedAscending } }

    /// Whether `one` is a better value of the objective than `other`.
    public func isBetter(_ one: Double, than other: Double) -> Bool {
        objective.direction == .minimize ? one < other : one > other
    }

    /// Whether a search finds it: each word is in its name, script, id, owner, status, metric or labels.
    fileprivate func has(_ words: [String]) -> Bool {
        var parts = [name ?? "", scriptName, id, owner, status.rawValue, objective.metric]
        for (key, value) in labels { parts.append("\(key)=\(value)") }
        let text = JobIndex.folded(parts.joined(separator: "\n"))
        return words.allSatisfy { text.contains($0) }
    }
}

extension SweepDimension {
    /// `2 to 32, logarithmic`; `gini, entropy`.
    public var words: String {
        if let values { return values.joined(separator: ", ") }
        var words = [low, high].compactMap { $0.map(ParameterCheck.format) }.joined(separator: " to ")
        if let step { words += " in steps of \(ParameterCheck.format(step))" }
        if log ?? false { words += ", logarithmic" }
        return words
    }
}
