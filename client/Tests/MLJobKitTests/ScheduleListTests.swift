import Foundation
import Testing

@testable import MLJobKit

@MainActor @Suite(.timeLimit(.minutes(5))) struct ScheduleListTests {
    nonisolated static func schedule(_ id: String, _ changes: [String: Any] = [:]) -> [String: Any] {
        let members: [String: Any] = [
            "schedule_id": id, "status": "ACTIVE", "owner": "alice", "name": "nightly", "calendar": "daily",
            "time_zone": "UTC", "expression": "*-*-* 00:00:00 UTC", "overlap": "skip", "randomized_delay_seconds": 0,
            "job": ["script_name": "train.py", "hyperparameters": [:] as [String: String]] as [String: Any],
            "next": [Sample.time], "created_at": Sample.time, "active_since": Sample.time, "revision": 1,
        ]
        return members.merging(changes) { $1 }
    }

    nonisolated static var run: [String: Any] {
        ["slot": Sample.time, "manual": true, "status": "SUBMITTED", "job_id": "a", "at": Sample.time]
    }

    nonisolated static func answer(_ request: HTTPRequest) -> ScriptedTransport.Answer {
        switch (request.method, request.target) {
        case ("GET", "/schedules/s/runs?limit=100"): .json(Sample.json(["runs": [run]]))
        case ("GET", _): .json(Sample.json(["schedules": [schedule("s")]]))
        case ("POST", "/schedules/s/run"): .json(Sample.json(run), status: 202)
        default: .json(Sample.json(schedule("s")))
        }
    }

    func decoded(_ changes: [String: Any] = [:]) throws -> Schedule {
        try Sample.decode(Schedule.self, Sample.json(Self.schedule("s", changes)))
    }

    @Test func schedulesComePageByPageInTheOrderOfTheirNames() async {
        let transport = ScriptedTransport(
            .json(Sample.json(["schedules": [Self.schedule("b", ["name": "B"])], "next_cursor": "9"])),
            .json(Sample.json(["schedules": [Self.schedule("a", ["name": "A"])]])))
        let list = ScheduleList(agent: Agent(transport))
        await list.load()
        #expect(list.schedules.map(\.id) == ["a", "b"] && list.isLoaded && list.trouble == nil)
        #expect(transport.requests.map(\.target) == ["/schedules?limit=50", "/schedules?cursor=9&limit=50"])
    }

    @Test(arguments: [
        (ScheduleList.Action.pause, "POST /schedules/s/pause"), (.resume, "POST /schedules/s/resume"),
        (.run, "POST /schedules/s/run"), (.remove, "DELETE /schedules/s"),
    ]) func eachActionIsACallAndThenWhatBecameOfIt(_ action: ScheduleList.Action, _ call: String) async throws {
        let transport = ScriptedTransport { request, _ in Self.answer(request) }
        let list = ScheduleList(agent: Agent(transport))
        try await list.act(action, on: try decoded())
        let asked = transport.requests.map { "\($0.method) \($0.target)" }
        let runs = action == .remove ? [] : ["GET /schedules/s/runs?limit=100"]
        #expect(asked == [call, "GET /schedules?limit=50"] + runs && !list.isActing)
        #expect(list.runs["s"]?.map(\.jobID) == (action == .remove ? nil : ["a"]))
    }

    @Test func aRunIsNotAskedForTwice() async throws {
        let transport = ScriptedTransport { _, _ in throw TransportError.lost("cut") }
        let list = ScheduleList(agent: Agent(transport))
        let schedule = try decoded()
        #expect(await caught(Trouble.self) { try await list.act(.run, on: schedule) }?.kind == .connectionLost)
        #expect(transport.requests.count == 1)
    }

    @Test func aScheduleThatIsGoneIsRemoved() async throws {
        let transport = ScriptedTransport { request, _ in
            request.method == "DELETE" ? .problem(404, "schedule-not-found") : Self.answer(request)
        }
        try await ScheduleList(agent: Agent(transport)).act(.remove, on: try decoded())
        let refusing = ScheduleList(agent: Agent(ScriptedTransport(.problem(409, "schedule-suspended", "No."))))
        let schedule = try decoded()
        #expect(await caught(Trouble.self) { try await refusing.act(.resume, on: schedule) }?.title == "No.")
    }

    @Test func failuresAreSaid() async {
        let list = ScheduleList(agent: Agent(ScriptedTransport(.problem(404, "no-such-route", "None here."))))
        await list.load()
        #expect(list.trouble?.title == "None here." && !list.isLoaded)
        await list.loadRuns(of: "s")
        #expect(list.runs.isEmpty && list.trouble != nil)
    }

    @Test func eachStateAllowsWhatMakesSense() throws {
        func allowed(_ status: String) throws -> [ScheduleList.Action] {
            let schedule = try decoded(["status": status])
            return ScheduleList.Action.allCases.filter(schedule.allows)
        }
        #expect(try allowed("ACTIVE") == [.pause, .run, .remove] && allowed("PAUSED") == [.resume, .run, .remove])
        #expect(try allowed("SUSPENDED") == [.resume, .remove])
        let idle = try decoded(["next": [] as [String], "status": "LATER"])
        #expect(idle.sortableNext == .distantFuture && idle.sortableStatus == ScheduleStatus.known.count)
    }
}
