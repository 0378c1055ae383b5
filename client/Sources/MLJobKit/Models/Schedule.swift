import Foundation

/// Whether a schedule has a timer.
public struct ScheduleStatus: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let active = ScheduleStatus(rawValue: "ACTIVE")
    public static let paused = ScheduleStatus(rawValue: "PAUSED")
    /// It may not go on, for a reason.
    public static let suspended = ScheduleStatus(rawValue: "SUSPENDED")

    public static let known: [ScheduleStatus] = [.active, .paused, .suspended]
}

/// Why a schedule is suspended.
public struct ScheduleReason: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let ownerRevoked = ScheduleReason(rawValue: "owner-revoked")
    public static let commitRefused = ScheduleReason(rawValue: "commit-refused")

    public static let known: [ScheduleReason] = [.ownerRevoked, .commitRefused]
}

/// What becomes of a time at which an earlier run has not ended.
public struct ScheduleOverlap: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let skip = ScheduleOverlap(rawValue: "skip")
    public static let queue = ScheduleOverlap(rawValue: "queue")
    public static let replace = ScheduleOverlap(rawValue: "replace")

    public static let known: [ScheduleOverlap] = [.skip, .queue, .replace]
}

/// What became of one time of a schedule.
public struct ScheduleRunStatus: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let waiting = ScheduleRunStatus(rawValue: "WAITING")
    public static let submitted = ScheduleRunStatus(rawValue: "SUBMITTED")
    public static let skipped = ScheduleRunStatus(rawValue: "SKIPPED")

    public static let known: [ScheduleRunStatus] = [.waiting, .submitted, .skipped]
}

/// Why a time of a schedule has no job.
public struct ScheduleRunReason: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let overlap = ScheduleRunReason(rawValue: "overlap")
    public static let replaced = ScheduleRunReason(rawValue: "replaced")
    public static let refused = ScheduleRunReason(rawValue: "refused")
    public static let paused = ScheduleRunReason(rawValue: "paused")

    public static let known: [ScheduleRunReason] = [.overlap, .replaced, .refused, .paused]
}

/// The body of `POST /schedules` and of its preview: either a job or a sweep, and when it is submitted.
public struct ScheduleRequest: Codable, Hashable, Sendable {
    public var name: String
    /// A calendar expression of systemd.time(7), without a time zone.
    public var calendar: String
    public var timeZone: String?
    public var overlap: ScheduleOverlap?
    public var randomizedDelaySeconds: Int?
    public var job: JobRequest?
    public var sweep: SweepRequest?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, calendar
        case timeZone = "time_zone"
        case overlap
        case randomizedDelaySeconds = "randomized_delay_seconds"
        case job, sweep
    }

    public init(
        name: String, calendar: String, timeZone: String? = nil, overlap: ScheduleOverlap? = nil,
        randomizedDelaySeconds: Int? = nil, job: JobRequest? = nil, sweep: SweepRequest? = nil
    ) {
        self.name = name
        self.calendar = calendar
        self.timeZone = timeZone
        self.overlap = overlap
        self.randomizedDelaySeconds = randomizedDelaySeconds
        self.job = job
        self.sweep = sweep
    }
}

/// The answer to `POST /schedules/preview`.
public struct SchedulePreview: Codable, Hashable, Sendable {
    /// The calendar as systemd writes it.
    public let expression: String
    public let next: [Date]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case expression, next
    }
}

/// What became of one time of a schedule: a job or a sweep, or the reason why there is none.
public struct ScheduleRun: Codable, Hashable, Sendable, Identifiable {
    public var id: Date { slot }
    public let slot: Date
    /// Whether somebody asked for it.
    public let manual: Bool
    public let status: ScheduleRunStatus
    public let reason: ScheduleRunReason?
    public let message: String?
    public let jobID: String?
    public let sweepID: String?
    public let at: Date

    enum CodingKeys: String, CodingKey, CaseIterable {
        case slot, manual, status, reason, message
        case jobID = "job_id"
        case sweepID = "sweep_id"
        case at
    }
}

/// One schedule: what it submits, when, and what became of it last.
public struct Schedule: Codable, Hashable, Sendable, Identifiable {
    public var id: String { scheduleID }
    public let scheduleID: String
    public let status: ScheduleStatus
    public let reason: ScheduleReason?
    /// Why it is suspended.
    public let message: String?
    public let owner: String
    public let name: String
    public let calendar: String
    public let timeZone: String
    /// The calendar with its time zone, as systemd writes it.
    public let expression: String
    public let overlap: ScheduleOverlap
    public let randomizedDelaySeconds: Int
    public let job: JobRequest?
    public let sweep: SweepRequest?
    /// The next times, five at most, of an active schedule.
    public let next: [Date]
    public let last: ScheduleRun?
    public let createdAt: Date
    public let activeSince: Date
    public let revision: Int

    enum CodingKeys: String, CodingKey, CaseIterable {
        case scheduleID = "schedule_id"
        case status, reason, message, owner, name, calendar
        case timeZone = "time_zone"
        case expression, overlap
        case randomizedDelaySeconds = "randomized_delay_seconds"
        case job, sweep, next, last
        case createdAt = "created_at"
        case activeSince = "active_since"
        case revision
    }

    /// The script that each run is of.
    public var scriptName: String { job?.scriptName ?? sweep?.job.scriptName ?? "" }
}

/// A page of `GET /schedules`, newest first; the last one has no cursor.
public struct SchedulePage: Codable, Sendable {
    public let schedules: [Schedule]
    public let nextCursor: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case schedules
        case nextCursor = "next_cursor"
    }
}

/// A page of `GET /schedules/{id}/runs`, newest first; the last one has no cursor.
public struct ScheduleRunPage: Codable, Sendable {
    public let runs: [ScheduleRun]
    public let nextCursor: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case runs
        case nextCursor = "next_cursor"
    }
}
