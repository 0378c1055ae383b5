import Foundation

/// Jobs side by side as rows of a table: a column for each job.
public struct ComparisonTable: Hashable, Sendable {
    public struct Row: Identifiable, Hashable, Sendable {
        public let id: String
        public let title: String
        /// One for each job; empty where it has none.
        public let values: [String]
        /// Jobs with the best value, where a metric decides.
        public let best: Set<Int>

        public var differs: Bool { Set(values).count > 1 }
    }

    public struct Group: Identifiable, Hashable, Sendable {
        public var id: String { title }
        public let title: String
        public let rows: [Row]
    }

    /// Of each job, in its column's head.
    public let titles: [String]
    public let groups: [Group]
    /// Metrics that any of the jobs has reported, by name.
    public let metrics: [String]

    /// `onlyDifferences` leaves out rows in which all jobs agree.
    public init(_ comparison: Comparison, onlyDifferences: Bool = false) {
        let jobs = comparison.jobs
        titles = jobs.map { $0.name ?? $0.scriptName }
        metrics = Self.names(jobs) { ($0.metrics ?? [:]).map(\.key) }
        let groups = [
            Group(title: "Job", rows: Self.facts(jobs)),
            Group(title: "Hyperparameters", rows: Self.values(jobs, "hyperparameters", \.hyperparameters)),
            Group(title: "Labels", rows: Self.values(jobs, "labels", \.labels)),
            Group(title: "Metrics", rows: metrics.map { Self.metric($0, jobs, comparison.objective) }),
            Group(title: "Use", rows: Self.use(jobs)),
        ]
        self.groups = groups.compactMap { group in
            let rows = onlyDifferences ? group.rows.filter(\.differs) : group.rows
            return rows.isEmpty ? nil : Group(title: group.title, rows: rows)
        }
    }

    private static func names(_ jobs: [ComparedJob], _ keys: (ComparedJob) -> [String]) -> [String] {
        var all: Set<String> = []
        for job in jobs { all.formUnion(keys(job)) }
        return all.sorted { $0.localizedStandardCompare($1) == .orderedAscending }
    }

    private static func row(
        _ title: String, _ jobs: [ComparedJob], _ value: (ComparedJob) -> String?
    ) -> Row {
        Row(id: title, title: title, values: jobs.map { value($0) ?? "" }, best: [])
    }

    private static func facts(_ jobs: [ComparedJob]) -> [Row] {
        [
            row("Job", jobs) { String($0.jobID.prefix(8)) },
            row("Status", jobs) { $0.status.rawValue.capitalized },
            row("Owner", jobs) { $0.owner },
            row("Script", jobs) { $0.scriptName },
            row("Commit", jobs) { String($0.commit.prefix(12)) },
            row("Image's digest", jobs) { $0.imageDigest },
            row("Attempt", jobs) { String($0.attempt) },
        ]
    }

    private static func values(
        _ jobs: [ComparedJob], _ group: String, _ values: (ComparedJob) -> [String: String]
    ) -> [Row] {
        names(jobs) { values($0).map(\.key) }.map { name in
            Row(id: "\(group).\(name)", title: name, values: jobs.map { values($0)[name] ?? "" }, best: [])
        }
    }

    /// A metric's last values, and which of them are the best where it decides.
    private static func metric(_ name: String, _ jobs: [ComparedJob], _ objective: SweepObjective?) -> Row {
        let last = jobs.map { $0.metrics?[name]?.last }
        var best: Set<Int> = []
        if let objective, objective.metric == name {
            let known = last.compactMap { $0 }
            let top = objective.direction == .minimize ? known.min() : known.max()
            best = Set(last.indices.filter { last[$0] != nil && last[$0] == top })
        }
        let words = last.map { $0.map(ParameterCheck.format) ?? "" }
        return Row(id: "metrics.\(name)", title: name, values: words, best: best)
    }

    private static func use(_ jobs: [ComparedJob]) -> [Row] {
        func time(_ seconds: Double?) -> String? { seconds.map { Quantity.format(seconds: Int($0.rounded())) } }
        return [
            row("Duration", jobs) { time($0.seconds) },
            row("CPU time", jobs) { time($0.cpuSeconds) },
            row("Memory at most", jobs) { $0.memoryPeakBytes.map(Quantity.format(bytes:)) },
        ]
    }
}
