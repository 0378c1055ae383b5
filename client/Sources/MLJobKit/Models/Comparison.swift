import Foundation

/// A metric of a job: how many values it reported, the last one, the least and the greatest. `best` is present for the
/// metric that decides.
public struct MetricSummary: Codable, Hashable, Sendable {
    public let count: Int
    public let last: Double
    public let min: Double?
    public let max: Double?
    public let best: Double?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case count, last, min, max, best
    }
}

/// A row of a comparison. `metrics` is nil where it is not known (yet) what the job has reported.
public struct ComparedJob: Codable, Hashable, Sendable, Identifiable {
    public var id: String { jobID }
    public let jobID: String
    public let status: JobStatus
    public let reason: Reason?
    public let name: String?
    public let owner: String
    public let scriptName: String
    public let hyperparameters: [String: String]
    public let labels: [String: String]
    public let sweep: String?
    public let trial: Int?
    public let commit: String
    public let imageDigest: String
    public let attempt: Int
    public let createdAt: Date
    public let startedAt: Date?
    public let finishedAt: Date?
    public let seconds: Double?
    public let cpuSeconds: Double?
    public let memoryPeakBytes: Int?
    public let metrics: [String: MetricSummary]?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case status, reason, name, owner, hyperparameters, labels, sweep, trial, commit, attempt, seconds, metrics
        case jobID = "job_id"
        case scriptName = "script_name"
        case imageDigest = "image_digest"
        case createdAt = "created_at"
        case startedAt = "started_at"
        case finishedAt = "finished_at"
        case cpuSeconds = "cpu_seconds"
        case memoryPeakBytes = "memory_peak_bytes"
    }
}

/// Jobs side by side. `best` is the job whose last value of the objective is the best.
public struct Comparison: Codable, Hashable, Sendable {
    public let objective: SweepObjective?
    public let best: String?
    public let jobs: [ComparedJob]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case objective, best, jobs
    }
}

/// One value that differs; nil where that job has none.
public struct Difference: Codable, Hashable, Sendable {
    public let name: String
    public let a: String?
    public let b: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, a, b
    }

    public init(name: String, a: String?, b: String?) {
        self.name = name
        self.a = a
        self.b = b
    }
}

/// A commit that only one of two jobs' commits leads to: `of` is "a" or "b".
public struct LoggedCommit: Codable, Hashable, Sendable, Identifiable {
    public var id: String { commit }
    public let of: String
    public let commit: String
    public let author: String
    public let time: Date
    public let subject: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case of, commit, author, time, subject
    }
}

/// What lies between two commits: `diff` is the script's changes as text. `cut` says that there is more; `unknown` says
/// why neither log nor diff is known.
public struct CommitDifference: Codable, Hashable, Sendable {
    public let a: String
    public let b: String
    public let log: [LoggedCommit]
    public let diff: String
    public let cut: Bool
    public let unknown: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case a, b, log, diff, cut, unknown
    }
}

/// What became of a metric: `change` is the last value of `b` less that of `a`.
public struct MetricDifference: Codable, Hashable, Sendable, Identifiable {
    public var id: String { name }
    public let name: String
    public let a: MetricSummary?
    public let b: MetricSummary?
    public let change: Double?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, a, b, change
    }
}

/// In what two jobs differ. What is nil or empty is the same in both; `metrics` has every metric.
public struct JobDifference: Codable, Hashable, Sendable {
    public let a: String
    public let b: String
    public let script: Difference?
    public let commit: CommitDifference?
    public let image: Difference?
    public let packages: [Difference]?
    public let hyperparameters: [Difference]
    public let limits: [Difference]
    public let inputs: [Difference]
    public let metrics: [MetricDifference]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case a, b, script, commit, image, packages, hyperparameters, limits, inputs, metrics
    }
}
