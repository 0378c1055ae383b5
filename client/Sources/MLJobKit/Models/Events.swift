import Foundation

/// `queue`: a waiting job's place is another one.
public struct JobQueuePlace: Codable, Hashable, Sendable {
    public let jobID: String
    public let position: Int
    public let waitsFor: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case position
        case waitsFor = "waits_for"
    }
}

/// `removed`: a job's record was removed.
public struct JobRemoved: Codable, Hashable, Sendable {
    public let jobID: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
    }
}

/// `reset`: what was known before counts no more, and what there is follows.
public struct StreamReset: Codable, Hashable, Sendable {
    public let why: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case why
    }
}

/// `current`: everything up to here has been told; `jobs` of them in a snapshot.
public struct StreamCurrent: Codable, Hashable, Sendable {
    public let jobs: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobs
    }
}

/// `progress`: what a running job said last of its progress.
public struct JobProgress: Codable, Hashable, Sendable {
    public let jobID: String
    public let done: Double
    public let total: Double
    public let time: Date

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case done, total, time
    }

    public var progress: Progress { Progress(done: done, total: total, time: time) }
}

/// `metric`: a metric's newest value.
public struct JobMetric: Codable, Hashable, Sendable {
    public let jobID: String
    public let name: String
    public let step: Int
    public let value: Double
    public let time: Date

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case name, step, value, time
    }

    public var point: MetricPoint { MetricPoint(step: step, value: value, time: time) }
}
