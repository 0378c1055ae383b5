import Foundation

/// Which jobs a list shows.
public enum JobFilter: String, Hashable, Sendable, CaseIterable, Identifiable, Codable {
    case all, running, waiting, finished, pinned

    public var id: String { rawValue }

    public func includes(_ job: Job) -> Bool {
        switch self {
        case .all: true
        case .running: job.status.isRunning
        case .waiting: job.status == .pending
        case .finished: job.status.isFinal
        case .pinned: job.pinned
        }
    }
}

extension Job {
    /// What a table sorts by; absent values come last in ascending order.
    public var sortableStart: Date { startedAt ?? .distantFuture }
    public var sortableEnd: Date { finishedAt ?? .distantFuture }
    public var sortableStatus: Int { JobStatus.known.firstIndex(of: status) ?? JobStatus.known.count }

    /// Seconds from start to end, or to `now` while it runs; nil before its start.
    public func duration(at now: Date = Date()) -> TimeInterval? {
        startedAt.map { (finishedAt ?? now).timeIntervalSince($0) }
    }

    /// What a search looks at.
    var searchable: [String] {
        [name ?? "", scriptName, id, owner, status.rawValue, reason?.rawValue ?? ""]
            + labels.map { "\($0)=\($1)" } + hyperparameters.map { "\($0)=\($1)" }
    }
}
