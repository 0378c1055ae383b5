import Foundation

/// Tells once of each job of one's own that it has ended, also where that happened while the app slept or was closed.
@MainActor
public final class EndNotices {
    private struct Content: Codable {
        /// Jobs that had not ended when they were seen last.
        var open: Set<Job.ID> = []
    }

    private var content: Content
    private let file: URL
    private let user: String

    /// `file` keeps which jobs are waited for.
    public init(user: String, file: URL) {
        self.user = user
        self.file = file
        content = (try? JSONDecoder().decode(Content.self, from: Data(contentsOf: file))) ?? Content()
    }

    /// Whether a person should be told of this job now. A job that had ended when it was first seen is old news, and
    /// a trial of a sweep is one of many.
    public func isNews(_ job: Job) -> Bool {
        guard job.owner == user, job.sweep == nil else { return false }
        if !job.status.isFinal {
            if content.open.insert(job.id).inserted { save() }
            return false
        }
        guard content.open.remove(job.id) != nil else { return false }
        save()
        return true
    }

    private func save() {
        try? FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try? JSONEncoder().encode(content).write(to: file, options: .atomic)
    }
}

extension Job {
    /// How it ended, in words; nil while it has not.
    public var outcome: String? {
        switch status {
        case .completed: "Completed"
        case .cancelled: cancellation
        case .failed: failure
        default: nil
        }
    }

    private var cancellation: String {
        switch reason {
        case .pruned?: "Ended early by its sweep"
        case .dependency?: "Cancelled with a job before it"
        default: "Cancelled"
        }
    }

    private var failure: String {
        switch reason {
        case .exitCode?: "Failed with exit status \(exitStatus ?? 1)"
        case .signal?: "Ended by signal \((exitStatus ?? 128) - 128)"
        case .oomKill?: "Ran out of memory"
        case .timeout?: "Ran longer than its limit"
        case .startFailed?: "Could not be started"
        case .interrupted?: "Interrupted"
        case .input?: "An input was not there"
        case .artifactQuota?: "Left more artifacts than its limit"
        case .storageFull?: "The host's disk was full"
        case .artifactMissing?: "Left no file that its script declares"
        case .stopped?: "Stopped on the host"
        case let reason?: "Failed: \(reason.rawValue)"
        case nil: "Failed"
        }
    }
}
