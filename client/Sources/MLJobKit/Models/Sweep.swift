import Foundation

/// Where a sweep is in its life.
public struct SweepStatus: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let running = SweepStatus(rawValue: "RUNNING")
    public static let paused = SweepStatus(rawValue: "PAUSED")
    public static let ending = SweepStatus(rawValue: "ENDING")
    public static let completed = SweepStatus(rawValue: "COMPLETED")
    public static let failed = SweepStatus(rawValue: "FAILED")
    public static let cancelled = SweepStatus(rawValue: "CANCELLED")

    public static let known: [SweepStatus] = [.running, .paused, .ending, .completed, .failed, .cancelled]

    /// Whether every trial has ended. A completed sweep goes on where it is extended.
    public var isFinal: Bool { self == .completed || self == .failed || self == .cancelled }
}

/// Why a sweep is ending, has failed or was cancelled.
public struct SweepReason: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let cancelled = SweepReason(rawValue: "cancelled")
    public static let metricMissing = SweepReason(rawValue: "metric-missing")
    public static let trialsFailed = SweepReason(rawValue: "trials-failed")
    public static let commitRefused = SweepReason(rawValue: "commit-refused")
    public static let strategyFailed = SweepReason(rawValue: "strategy-failed")

    public static let known: [SweepReason] = [
        .cancelled, .metricMissing, .trialsFailed, .commitRefused, .strategyFailed,
    ]
}

/// How the hyperparameters of the next trial are chosen.
public struct SweepStrategy: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let grid = SweepStrategy(rawValue: "grid")
    public static let random = SweepStrategy(rawValue: "random")
    public static let tpe = SweepStrategy(rawValue: "tpe")

    public static let known: [SweepStrategy] = [.grid, .random, .tpe]
}

/// How a trial is found that is not worth going on.
public struct SweepPruner: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let median = SweepPruner(rawValue: "median")
    public static let hyperband = SweepPruner(rawValue: "hyperband")

    public static let known: [SweepPruner] = [.median, .hyperband]
}

/// Which values of an objective are better.
public struct Direction: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let maximize = Direction(rawValue: "maximize")
    public static let minimize = Direction(rawValue: "minimize")

    public static let known: [Direction] = [.maximize, .minimize]
}

/// The metric whose last value decides.
public struct SweepObjective: Codable, Hashable, Sendable {
    public var metric: String
    public var direction: Direction

    enum CodingKeys: String, CodingKey, CaseIterable {
        case metric, direction
    }

    public init(metric: String, direction: Direction) {
        self.metric = metric
        self.direction = direction
    }
}

/// The values of one hyperparameter: `values`, or all from `low` to `high`. What is absent in a request follows from
/// the script's declaration.
public struct SweepDimension: Codable, Hashable, Sendable {
    public var values: [String]?
    public var type: ParameterType?
    public var low: Double?
    public var high: Double?
    public var step: Double?
    public var log: Bool?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case values, type, low, high, step, log
    }

    public init(
        values: [String]? = nil, type: ParameterType? = nil, low: Double? = nil, high: Double? = nil,
        step: Double? = nil, log: Bool? = nil
    ) {
        self.values = values
        self.type = type
        self.low = low
        self.high = high
        self.step = step
        self.log = log
    }
}

/// The body of `POST /sweeps`: what all trials have in common, as in a job, and what differs. Members that are absent
/// are the agent's defaults.
public struct SweepRequest: Codable, Hashable, Sendable {
    /// On the wire, its members stand beside those below. A sweep has no `after`.
    public var job: JobRequest
    public var space: [String: SweepDimension]
    public var strategy: SweepStrategy
    public var trials: Int?
    public var atOnce: Int?
    public var objective: SweepObjective
    public var pruner: SweepPruner?
    public var seed: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case space, strategy, trials
        case atOnce = "at_once"
        case objective, pruner, seed
    }

    public init(
        job: JobRequest, space: [String: SweepDimension], strategy: SweepStrategy, objective: SweepObjective,
        trials: Int? = nil, atOnce: Int? = nil, pruner: SweepPruner? = nil, seed: Int? = nil
    ) {
        self.job = job
        self.space = space
        self.strategy = strategy
        self.objective = objective
        self.trials = trials
        self.atOnce = atOnce
        self.pruner = pruner
        self.seed = seed
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            job: try JobRequest(from: decoder),
            space: try members.decode([String: SweepDimension].self, forKey: .space),
            strategy: try members.decode(SweepStrategy.self, forKey: .strategy),
            objective: try members.decode(SweepObjective.self, forKey: .objective),
            trials: try members.decodeIfPresent(Int.self, forKey: .trials),
            atOnce: try members.decodeIfPresent(Int.self, forKey: .atOnce),
            pruner: try members.decodeIfPresent(SweepPruner.self, forKey: .pruner),
            seed: try members.decodeIfPresent(Int.self, forKey: .seed)
        )
    }

    public func encode(to encoder: any Encoder) throws {
        try job.encode(to: encoder)
        var members = encoder.container(keyedBy: CodingKeys.self)
        try members.encode(space, forKey: .space)
        try members.encode(strategy, forKey: .strategy)
        try members.encodeIfPresent(trials, forKey: .trials)
        try members.encodeIfPresent(atOnce, forKey: .atOnce)
        try members.encode(objective, forKey: .objective)
        try members.encodeIfPresent(pruner, forKey: .pruner)
        try members.encodeIfPresent(seed, forKey: .seed)
    }
}

/// The body of `POST /sweeps/{id}/rerun`: what differs from the earlier sweep.
public struct SweepRerun: Codable, Hashable, Sendable {
    public var trials: Int?
    public var atOnce: Int?
    public var seed: Int?
    public var name: String?
    public var labels: [String: String]?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case trials
        case atOnce = "at_once"
        case seed, name, labels
    }

    public init(
        trials: Int? = nil, atOnce: Int? = nil, seed: Int? = nil, name: String? = nil, labels: [String: String]? = nil
    ) {
        self.trials = trials
        self.atOnce = atOnce
        self.seed = seed
        self.name = name
        self.labels = labels
    }
}

/// The body of `POST /sweeps/{id}/extend`: so many trials in all.
public struct SweepExtension: Codable, Hashable, Sendable {
    public var trials: Int

    enum CodingKeys: String, CodingKey, CaseIterable {
        case trials
    }

    public init(trials: Int) { self.trials = trials }
}

/// The best trial that has completed.
public struct BestTrial: Codable, Hashable, Sendable {
    public let trial: Int
    public let jobID: String
    public let value: Double
    public let hyperparameters: [String: String]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case trial
        case jobID = "job_id"
        case value, hyperparameters
    }
}

/// One sweep: what was asked, what its trials run, and how far it is.
public struct Sweep: Codable, Hashable, Sendable, Identifiable {
    public var id: String { sweepID }
    public let sweepID: String
    public let status: SweepStatus
    public let reason: SweepReason?
    /// Why it ended, or what it waits for.
    public let message: String?
    public let owner: String
    public let scriptName: String
    public let hyperparameters: [String: String]
    public let space: [String: SweepDimension]
    public let strategy: SweepStrategy
    /// How many there are to be.
    public let trials: Int
    public let atOnce: Int
    public let objective: SweepObjective
    public let pruner: SweepPruner?
    /// The same seed, and the same order of results, give the same suggestions.
    public let seed: Int
    public let name: String?
    public let labels: [String: String]
    /// What all trials see in /inputs, by name.
    public let inputs: [String: JobInput]?
    public let limits: Limits
    public let priority: Int
    public let maxAttempts: Int
    public let retryOn: [Reason]
    public let rerunOf: String?
    /// The schedule that has submitted the sweep, and the time for which it did.
    public let schedule: String?
    public let slot: Date?
    public let commit: String
    public let scriptSHA256: String
    public let image: String
    public let imageDigest: String
    public let secrets: [String]
    public let network: String
    public let artifacts: [String]
    /// How many there are: the sum of the next five.
    public let made: Int
    public let unfinished: Int
    public let completed: Int
    public let pruned: Int
    public let failed: Int
    public let cancelled: Int
    public let best: BestTrial?
    public let createdAt: Date
    public let finishedAt: Date?
    public let pinned: Bool
    /// Who may read it and its trials besides its owner, in the answer about one sweep.
    public let readers: Readers?
    public let revision: Int

    enum CodingKeys: String, CodingKey, CaseIterable {
        case sweepID = "sweep_id"
        case status, reason, message, owner
        case scriptName = "script_name"
        case hyperparameters, space, strategy, trials
        case atOnce = "at_once"
        case objective, pruner, seed, name, labels, inputs, limits, priority
        case maxAttempts = "max_attempts"
        case retryOn = "retry_on"
        case rerunOf = "rerun_of"
        case schedule, slot, commit
        case scriptSHA256 = "script_sha256"
        case image
        case imageDigest = "image_digest"
        case secrets, network, artifacts, made, unfinished, completed, pruned, failed, cancelled, best
        case createdAt = "created_at"
        case finishedAt = "finished_at"
        case pinned, readers, revision
    }

    /// What to call the sweep: its name, or its script's.
    public var title: String { name ?? scriptName }
}

/// One trial: a job, its place in the sweep from 0, and what the objective had last.
public struct SweepTrial: Codable, Hashable, Sendable, Identifiable {
    public var id: String { jobID }
    public let trial: Int
    public let jobID: String
    // The stream of jobs tells these earlier than the next page of trials.
    public internal(set) var status: JobStatus
    public internal(set) var reason: Reason?
    public let hyperparameters: [String: String]
    public let value: Double?
    public internal(set) var startedAt: Date?
    public internal(set) var finishedAt: Date?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case trial
        case jobID = "job_id"
        case status, reason, hyperparameters, value
        case startedAt = "started_at"
        case finishedAt = "finished_at"
    }
}

/// A page of `GET /sweeps`, newest first; the last one has no cursor.
public struct SweepPage: Codable, Sendable {
    public let sweeps: [Sweep]
    public let nextCursor: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case sweeps
        case nextCursor = "next_cursor"
    }
}

/// A page of `GET /sweeps/{id}/trials`, in the order of their numbers; the last one has no cursor.
public struct TrialPage: Codable, Sendable {
    public let trials: [SweepTrial]
    public let nextCursor: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case trials
        case nextCursor = "next_cursor"
    }
}
