import Foundation

@testable import MLJobKit

extension Sample {
    static func sweepJSON(_ id: String = "q4x7k2m5ab3v", _ status: String = "RUNNING", _ changes: [String: Any] = [:])
        -> String
    {
        let space: [String: [String: Any]] = [
            "depth": ["type": "integer", "low": 2, "high": 32, "log": true], "kind": ["values": ["a", "b"]],
        ]
        let members: [String: Any] = [
            "sweep_id": id, "status": status, "owner": "alice", "script_name": "train.py",
            "hyperparameters": ["view": "T"],
            "space": space,
            "strategy": "tpe", "trials": 60, "at_once": 4, "objective": ["metric": "auc", "direction": "maximize"],
            "seed": 7, "labels": ["team": "churn"], "limits": [:] as [String: Any], "priority": 0, "max_attempts": 1,
            "retry_on": [] as [String], "commit": "c0ffee", "script_sha256": "", "image": "ml-runner",
            "image_digest": "", "secrets": [] as [String], "network": "none", "artifacts": [] as [String], "made": 0,
            "unfinished": 0, "completed": 0, "pruned": 0, "failed": 0, "cancelled": 0, "created_at": time,
            "pinned": false, "revision": 1,
        ]
        return json(members.merging(changes) { $1 })
    }

    static func sweep(_ id: String = "q4x7k2m5ab3v", _ status: String = "RUNNING", _ changes: [String: Any] = [:])
        -> Sweep
    {
        do {
            return try decode(Sweep.self, sweepJSON(id, status, changes))
        } catch {
            fatalError("\(error)")
        }
    }

    /// A trial whose job is `job<number>`.
    static func trialJSON(
        _ number: Int, _ status: String = "COMPLETED", value: Double? = nil, _ values: [String: String] = [:],
        _ changes: [String: Any] = [:]
    ) -> String {
        var members: [String: Any] = [
            "trial": number, "job_id": "job\(number)", "status": status, "hyperparameters": values,
        ]
        members["value"] = value
        return json(members.merging(changes) { $1 })
    }

    static func trial(
        _ number: Int, _ status: String = "COMPLETED", value: Double? = nil, _ values: [String: String] = [:],
        _ changes: [String: Any] = [:]
    ) -> SweepTrial {
        do {
            return try decode(SweepTrial.self, trialJSON(number, status, value: value, values, changes))
        } catch {
            fatalError("\(error)")
        }
    }
}
