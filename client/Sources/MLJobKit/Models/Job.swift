import Foundation

/// Where a job is in its life. The contract closes this set, except for clients of a later agent.
public struct JobStatus: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let pending = JobStatus(rawValue: "PENDING")
    public static let created = JobStatus(rawValue: "CREATED")
    public static let running = JobStatus(rawValue: "RUNNING")
    public static let completed = JobStatus(rawValue: "COMPLETED")
    public static let failed = JobStatus(rawValue: "FAILED")
    public static let cancelled = JobStatus(rawValue: "CANCELLED")

    public static let known: [JobStatus] = [.pending, .created, .running, .completed, .failed, .cancelled]

    /// Whether the state is written once and stays.
    public var isFinal: Bool { self == .completed || self == .failed || self == .cancelled }
    public var isRunning: Bool { self == .running || self == .created }
}

/// Why a job ended as it did; absent while it has not ended, and after success.
public struct Reason: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let exitCode = Reason(rawValue: "exit-code")
    public static let signal = Reason(rawValue: "signal")
    public static let oomKill = Reason(rawValue: "oom-kill")
    public static let timeout = Reason(rawValue: "timeout")
    public static let startFailed = Reason(rawValue: "start-failed")
    public static let interrupted = Reason(rawValue: "interrupted")
    public static let cancelled = Reason(rawValue: "cancelled")
    public static let stopped = Reason(rawValue: "stopped")
    public static let artifactQuota = Reason(rawValue: "artifact-quota")
    public static let storageFull = Reason(rawValue: "storage-full")
    public static let artifactMissing = Reason(rawValue: "artifact-missing")
    public static let pruned = Reason(rawValue: "pruned")
    public static let dependency = Reason(rawValue: "dependency")
    public static let input = Reason(rawValue: "input")

    /// The reasons for which a job may be run again.
    public static let retryable: [Reason] = [.exitCode, .signal, .oomKill, .timeout, .startFailed, .interrupted]
    public static let retriedByDefault: [Reason] = [.interrupted, .startFailed]
}

/// What a job may use at the most; absent members are the site's.
public struct Limits: Codable, Hashable, Sendable {
    public var memoryBytes: Int?
    public var cpus: Double?
    public var tasks: Int?
    public var runTimeSeconds: Int?
    public var graceSeconds: Int?
    public var artifactBytes: Int?
    public var artifactFiles: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case memoryBytes = "memory_bytes"
        case cpus, tasks
        case runTimeSeconds = "run_time_seconds"
        case graceSeconds = "grace_seconds"
        case artifactBytes = "artifact_bytes"
        case artifactFiles = "artifact_files"
    }

    public init(
        memoryBytes: Int? = nil, cpus: Double? = nil, tasks: Int? = nil, runTimeSeconds: Int? = nil,
        graceSeconds: Int? = nil, artifactBytes: Int? = nil, artifactFiles: Int? = nil
    ) {
        self.memoryBytes = memoryBytes
        self.cpus = cpus
        self.tasks = tasks
        self.runTimeSeconds = runTimeSeconds
        self.graceSeconds = graceSeconds
        self.artifactBytes = artifactBytes
        self.artifactFiles = artifactFiles
    }

    public var isEmpty: Bool { self == Limits() }
}

/// Where a waiting job stands: its place in the line, from 1, and what it waits for, in words.
public struct QueuePlace: Codable, Hashable, Sendable {
    public let position: Int
    public let waitsFor: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case position
        case waitsFor = "waits_for"
    }
}

/// An artifact of an earlier job, as a job sees it.
public struct JobInput: Codable, Hashable, Sendable {
    public let jobID: String
    public let path: String
    /// Absent, as the digest, until the job that leaves the artifact has ended.
    public let size: Int?
    public let sha256: String?
    /// What the request named instead, if it did.
    public let model: String?
    public let alias: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case path, size, sha256, model, alias
    }
}

/// An attempt that has ended.
public struct Attempt: Codable, Hashable, Sendable, Identifiable {
    public var id: Int { number }
    public let number: Int
    public let invocationID: String?
    public let containerID: String
    public let exitStatus: Int?
    public let reason: Reason?
    public let message: String?
    public let startedAt: Date?
    public let finishedAt: Date

    enum CodingKeys: String, CodingKey, CaseIterable {
        case number
        case invocationID = "invocation_id"
        case containerID = "container_id"
        case exitStatus = "exit_status"
        case reason, message
        case startedAt = "started_at"
        case finishedAt = "finished_at"
    }
}

/// Why retention removed something.
public struct RetentionRule: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let age = RetentionRule(rawValue: "age")
    public static let count = RetentionRule(rawValue: "count")
    public static let bytes = RetentionRule(rawValue: "bytes")
}

/// When retention removed a job's artifacts and log, and by which rule.
public struct Removal: Codable, Hashable, Sendable {
    public let at: Date
    public let rule: RetentionRule

    enum CodingKeys: String, CodingKey, CaseIterable {
        case at, rule
    }
}

/// One job: what was asked, what it runs, where it is in its life.
public struct Job: Codable, Hashable, Sendable, Identifiable {
    public let id: String
    public let status: JobStatus
    public let reason: Reason?
    public let message: String?
    /// Empty until Podman has made the container.
    public let containerID: String
    public let owner: String
    public let scriptName: String
    public let hyperparameters: [String: String]
    public let name: String?
    public let labels: [String: String]
    public let limits: Limits
    public let priority: Int
    /// There while the job waits. It changes without a new `revision`.
    public internal(set) var queue: QueuePlace?
    public let rerunOf: String?
    /// The sweep that the job is a trial of, and its number there, from 0.
    public let sweep: String?
    public let trial: Int?
    /// The jobs that had to complete before it.
    public let after: [String]
    /// The schedule that has submitted the job, and the time for which it did.
    public let schedule: String?
    public let slot: Date?
    /// What it sees in /inputs, by name.
    public let inputs: [String: JobInput]
    public let commit: String
    public let scriptSHA256: String
    public let image: String
    public let imageDigest: String
    public let secrets: [String]
    public let network: String
    /// The host of a fleet that has the job; absent where there is one host.
    public let host: String?
    /// The files that it must leave.
    public let artifacts: [String]
    public let unit: String
    public let maxAttempts: Int
    public let retryOn: [Reason]
    /// From 1: the attempt that the record is about or, while the job waits, the next one.
    public let attempt: Int
    public let attempts: [Attempt]
    /// There while the job waits to be tried again.
    public let notBefore: Date?
    public let invocationID: String?
    /// The script's, or 128 and the signal's number.
    public let exitStatus: Int?
    public let cancelRequested: Bool
    public let createdAt: Date
    public let startedAt: Date?
    public let finishedAt: Date?
    public let pinned: Bool
    /// Who may read it besides its owner, in the answer about one job.
    public let readers: Readers?
    public let removed: Removal?
    /// Grows with each change of the record.
    public let revision: Int

    enum CodingKeys: String, CodingKey, CaseIterable {
        case id = "job_id"
        case status, reason, message
        case containerID = "container_id"
        case owner
        case scriptName = "script_name"
        case hyperparameters, name, labels, limits, priority, queue
        case rerunOf = "rerun_of"
        case sweep, trial, after, inputs, schedule, slot, commit
        case scriptSHA256 = "script_sha256"
        case image
        case imageDigest = "image_digest"
        case secrets, network, host, artifacts, unit
        case maxAttempts = "max_attempts"
        case retryOn = "retry_on"
        case attempt, attempts
        case notBefore = "not_before"
        case invocationID = "invocation_id"
        case exitStatus = "exit_status"
        case cancelRequested = "cancel_requested"
        case createdAt = "created_at"
        case startedAt = "started_at"
        case finishedAt = "finished_at"
        case pinned, readers, removed, revision
    }
}

extension Job {
    /// What the first client of this contract relied on is required; the rest falls back to what an agent that does
    /// not know the member would do.
    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        id = try members.decode(String.self, forKey: .id)
        status = try members.decode(JobStatus.self, forKey: .status)
        reason = try members.decodeIfPresent(Reason.self, forKey: .reason)
        message = try members.decodeIfPresent(String.self, forKey: .message)
        containerID = try members.decode(String.self, forKey: .containerID)
        owner = try members.decode(String.self, forKey: .owner)
        scriptName = try members.decode(String.self, forKey: .scriptName)
        hyperparameters = try members.decode([String: String].self, forKey: .hyperparameters)
        name = try members.decodeIfPresent(String.self, forKey: .name)
        labels = try members.value(.labels, or: [:])
        limits = try members.value(.limits, or: Limits())
        priority = try members.value(.priority, or: 0)
        queue = try members.decodeIfPresent(QueuePlace.self, forKey: .queue)
        rerunOf = try members.decodeIfPresent(String.self, forKey: .rerunOf)
        sweep = try members.decodeIfPresent(String.self, forKey: .sweep)
        trial = try members.decodeIfPresent(Int.self, forKey: .trial)
        after = try members.value(.after, or: [])
        schedule = try members.decodeIfPresent(String.self, forKey: .schedule)
        slot = try members.decodeIfPresent(Date.self, forKey: .slot)
        inputs = try members.value(.inputs, or: [:])
        commit = try members.value(.commit, or: "")
        scriptSHA256 = try members.value(.scriptSHA256, or: "")
        image = try members.value(.image, or: "")
        imageDigest = try members.value(.imageDigest, or: "")
        secrets = try members.value(.secrets, or: [])
        network = try members.value(.network, or: "")
        host = try members.decodeIfPresent(String.self, forKey: .host)
        artifacts = try members.value(.artifacts, or: [])
        unit = try members.value(.unit, or: "")
        maxAttempts = try members.value(.maxAttempts, or: 1)
        retryOn = try members.value(.retryOn, or: Reason.retriedByDefault)
        attempt = try members.value(.attempt, or: 1)
        attempts = try members.value(.attempts, or: [])
        notBefore = try members.decodeIfPresent(Date.self, forKey: .notBefore)
        invocationID = try members.decodeIfPresent(String.self, forKey: .invocationID)
        exitStatus = try members.decodeIfPresent(Int.self, forKey: .exitStatus)
        cancelRequested = try members.value(.cancelRequested, or: false)
        createdAt = try members.decode(Date.self, forKey: .createdAt)
        startedAt = try members.decodeIfPresent(Date.self, forKey: .startedAt)
        finishedAt = try members.decodeIfPresent(Date.self, forKey: .finishedAt)
        pinned = try members.value(.pinned, or: false)
        readers = try members.decodeIfPresent(Readers.self, forKey: .readers)
        removed = try members.decodeIfPresent(Removal.self, forKey: .removed)
        revision = try members.value(.revision, or: 1)
    }

    /// What to call the job: its name, or its script's.
    public var title: String { name ?? scriptName }
    /// Two jobs never share these eight characters.
    public var shortID: String { String(id.prefix(8)) }
}

/// A page of `GET /jobs`, newest first; the last one has no cursor.
public struct JobPage: Codable, Sendable {
    public let jobs: [Job]
    /// The last value of each job's metric, by the job's id, where a metric was asked for.
    public let values: [String: Double]?
    public let nextCursor: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobs, values
        case nextCursor = "next_cursor"
    }
}
