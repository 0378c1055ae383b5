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
