import Foundation

extension Agent {
    /// Jobs side by side, in that order. `objective` is the metric that decides.
    public func compare(_ jobs: [Job.ID], by objective: SweepObjective? = nil) async throws -> Comparison {
        var parts = jobs.map { "job=\(URLPart.encode($0))" }
        if let objective { parts.append("\(objective.direction.rawValue)=\(URLPart.encode(objective.metric))") }
        return try await call("GET", "/comparison?\(parts.joined(separator: "&"))")
    }

    /// In what two jobs differ, and what that did to their metrics.
    public func difference(from a: Job.ID, to b: Job.ID) async throws -> JobDifference {
        try await call("GET", "/jobs/\(URLPart.encode(a))/diff/\(URLPart.encode(b))")
    }
}
