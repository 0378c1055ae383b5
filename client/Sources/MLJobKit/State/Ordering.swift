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
    public var sortableHost: String { host ?? "" }

    /// Seconds from start to end, or to `now` while it runs; nil before its start.
    public func duration(at now: Date = Date()) -> TimeInterval? {
        startedAt.map { (finishedAt ?? now).timeIntervalSince($0) }
    }

    /// What a search looks at.
    var searchable: [String] {
        var parts = [scriptName, id, owner, status.rawValue]
        parts += [name, reason?.rawValue, host].compactMap { $0 }
        parts += labels.map { "\($0)=\($1)" }
        return parts + hyperparameters.map { "\($0)=\($1)" }
    }
}
