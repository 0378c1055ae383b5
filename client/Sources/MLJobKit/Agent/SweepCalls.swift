import Foundation

extension Agent {
    /// Submits a sweep. Repeating the call with the same `key` and request makes no second sweep.
    public func submit(_ request: SweepRequest, key: String) async throws -> Sweep {
        try await call(
            "POST", "/sweeps", body: try JSONEncoder.ofAgent().encode(request), headers: ["Idempotency-Key": key])
    }

    /// Runs a sweep again, with changes. Repeating the call with the same `key` makes no second sweep.
    public func rerun(_ id: Sweep.ID, _ changes: SweepRerun, key: String) async throws -> Sweep {
        try await call(
            "POST", Self.path(id, "/rerun"), body: try JSONEncoder.ofAgent().encode(changes),
            headers: ["Idempotency-Key": key])
    }

    public func sweep(_ id: Sweep.ID) async throws -> Sweep { try await call("GET", Self.path(id)) }

    /// A page of sweeps, newest first. `cursor` is the page before's `nextCursor`; `limit` is 1 to 200.
    public func sweeps(cursor: String? = nil, limit: Int = 50) async throws -> SweepPage {
        try await call("GET", "/sweeps\(URLPart.query(["cursor": cursor, "limit": String(limit)]))")
    }

    /// A page of a sweep's trials, in the order of their numbers.
    public func trials(of id: Sweep.ID, cursor: String? = nil, limit: Int = 200) async throws -> TrialPage {
        let parts = URLPart.query(["cursor": cursor, "limit": String(limit)])
        return try await call("GET", Self.path(id, "/trials\(parts)"))
    }

    /// No more trials are made; those that wait or run go on.
    public func pauseSweep(_ id: Sweep.ID) async throws -> Sweep { try await call("POST", Self.path(id, "/pause")) }

    public func resumeSweep(_ id: Sweep.ID) async throws -> Sweep { try await call("POST", Self.path(id, "/resume")) }

    /// Cancels the sweep and those of its trials that have not ended.
    public func cancelSweep(_ id: Sweep.ID) async throws -> Sweep { try await call("POST", Self.path(id, "/cancel")) }

    /// Gives the sweep more trials: so many in all.
    public func extendSweep(_ id: Sweep.ID, to trials: Int) async throws -> Sweep {
        let body = try JSONEncoder.ofAgent().encode(SweepExtension(trials: trials))
        return try await call("POST", Self.path(id, "/extend"), body: body)
    }

    /// Keeps a sweep with all its trials from retention, or no longer.
    public func setSweepPinned(_ isPinned: Bool, _ id: Sweep.ID) async throws -> Sweep {
        try await call(isPinned ? "PUT" : "DELETE", Self.path(id, "/pin"))
    }

    private static func path(_ id: Sweep.ID, _ rest: String = "") -> String { "/sweeps/\(URLPart.encode(id))\(rest)" }
}
