import Foundation

extension Agent {
    /// A page of schedules, newest first; `limit` is 1 to 50.
    public func schedules(cursor: String? = nil, limit: Int = 50) async throws -> SchedulePage {
        try await call("GET", "/schedules\(URLPart.query(["cursor": cursor, "limit": String(limit)]))")
    }

    /// The next times of a schedule before it is made, after the same checks. Nothing is made.
    public func previewSchedule(_ request: ScheduleRequest) async throws -> SchedulePreview {
        try await call("POST", "/schedules/preview", body: try JSONEncoder.ofAgent().encode(request))
    }

    /// Makes a schedule. Repeating the call with the same `key` and request makes no second one.
    public func createSchedule(_ request: ScheduleRequest, key: String) async throws -> Schedule {
        try await call(
            "POST", "/schedules", body: try JSONEncoder.ofAgent().encode(request), headers: ["Idempotency-Key": key])
    }

    /// The newest runs of a schedule, the newest first.
    public func runs(of id: Schedule.ID, limit: Int = 100) async throws -> [ScheduleRun] {
        let page: ScheduleRunPage = try await call("GET", "\(Self.path(id))/runs?limit=\(limit)")
        return page.runs
    }

    /// Takes the schedule's timer away, until it is resumed.
    public func pauseSchedule(_ id: Schedule.ID) async throws -> Schedule {
        try await call("POST", "\(Self.path(id))/pause")
    }

    public func resumeSchedule(_ id: Schedule.ID) async throws -> Schedule {
        try await call("POST", "\(Self.path(id))/resume")
    }

    /// Makes a run now. Each request is a run of its own, so it is not repeated.
    public func runSchedule(_ id: Schedule.ID) async throws -> ScheduleRun {
        try await call("POST", "\(Self.path(id))/run", isRepeatable: false)
    }

    /// Removes a schedule; its jobs and sweeps stay. A repeated request whose first answer was lost finds none any more:
    /// `Problem` with the code `schedule-not-found`.
    public func removeSchedule(_ id: Schedule.ID) async throws -> Schedule { try await call("DELETE", Self.path(id)) }

    private static func path(_ id: Schedule.ID) -> String { "/schedules/\(URLPart.encode(id))" }
}
