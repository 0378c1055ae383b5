import Foundation
import Testing

@testable import MLJobKit

/// The form of a schedule: its next times are shown before it is made.
@MainActor @Suite(.timeLimit(.minutes(5))) struct ScheduleFormTests {
    static let script = Script(name: "train.py", parameters: [Parameter(name: "depth", type: .integer)])

    func form() -> ScheduleForm {
        let form = ScheduleForm(script: Self.script)
        form.calendar = "Mon..Fri 02:00"
        form.timeZone = "Europe/Rome"
        return form
    }

    nonisolated static let preview = ScriptedTransport.Answer.json(
        Sample.json(["expression": "Mon..Fri *-*-* 02:00:00 Europe/Rome", "next": [Sample.time]]))

    @Test func whatIsTypedIsSent() {
        let form = form()
        #expect(form.isValid && form.objections.isEmpty)
        #expect(
            form.request
                == ScheduleRequest(
                    name: "train.py", calendar: "Mon..Fri 02:00", timeZone: "Europe/Rome", overlap: .skip,
                    job: JobRequest(scriptName: "train.py")))
        form.name = "nightly"
        form.overlap = .replace
        form.delay = "10m"
        form.job.fields[0].value = "4"
        #expect(form.request.randomizedDelaySeconds == 600 && form.request.overlap == .replace)
        #expect(form.request.job?.hyperparameters == ["depth": "4"])
    }

    @Test func everyFieldIsChecked() {
        let form = ScheduleForm(script: Self.script)
        #expect(Set(form.objections.keys) == ["calendar"])
        form.name = ""
        form.calendar = "--user"
        form.timeZone = "Rome; date"
        form.delay = "2d"
        form.job.name = "a\u{7}"
        form.job.fields[0].value = "deep"
        #expect(
            Set(form.objections.keys) == [
                "name", "calendar", "time_zone", "randomized_delay_seconds", "job.name", "hyperparameters.depth",
            ])
        form.name = String(repeating: "x", count: 129)
        form.delay = "soon"
        #expect(form.objections["name"] == "must have 128 characters at most" && !form.isValid)
        for example in ScheduleForm.examples {
            form.calendar = example.calendar
            #expect(form.objections["calendar"] == nil, "\(example)")
        }
    }

    @Test func theNextTimesAreThoseOfTheFormAsItIs() async throws {
        let transport = ScriptedTransport(Self.preview)
        let list = ScheduleList(agent: Agent(transport))
        let form = form()
        #expect(form.shown == nil)
        try await list.preview(form)
        #expect(
            form.shown?.next.map(AgentTime.format) == [Sample.time]
                && transport.requests[0].target == "/schedules/preview")
        form.calendar = "Mon..Fri 03:00"
        #expect(form.shown == nil, "another calendar has other times")
        form.calendar = "Mon..Fri 02:00"
        #expect(form.shown?.expression == "Mon..Fri *-*-* 02:00:00 Europe/Rome")
        form.job.fields[0].value = "4"
        #expect(form.shown == nil, "the host checks the job, too")
    }

    @Test func whatTheHostRefusesStandsBesideItsFieldAndNothingIsLost() async throws {
        let transport = ScriptedTransport(
            .problem(
                422, "invalid-request", "The request is not valid.",
                fields: [
                    "calendar": "never comes again", "time_zone": "is unknown", "job.name": "is odd", "job": "is bad",
                    "job.hyperparameters.depth": "is deep", "ref": "is unknown", "randomized_delay_seconds": "is long",
                ]))
        let list = ScheduleList(agent: Agent(transport))
        let form = form()
        form.job.fields[0].value = "4"
        let request = form.request
        let trouble = await caught(Trouble.self) { try await list.preview(form) }
        #expect(trouble?.fields.count == 7 && form.request == request && form.shown == nil)
        #expect(
            form.objections == [
                "calendar": "never comes again", "time_zone": "is unknown", "job.name": "is odd", "job": "is bad",
                "hyperparameters.depth": "is deep", "ref": "is unknown", "randomized_delay_seconds": "is long",
            ])
        #expect(form.job.objections["name"] == "is odd")
        form.calendar = "daily"
        #expect(form.objections["calendar"] == nil && form.objections["time_zone"] == "is unknown")
        form.show([])
        #expect(form.objections == ["hyperparameters.depth": "is deep"], "until it is another value")
    }

    @Test func aLostAnswerMakesNoSecondSchedule() async throws {
        let schedule = Sample.json(
            try #require(try ModelTests.schemas()["Schedule"]?["full"] as? [String: Any]))
        let transport = ScriptedTransport { request, count in
            if request.method == "GET" { return .json(#"{"schedules":[\#(schedule)]}"#) }
            if count < 20 { throw TransportError.lost("cut") }
            return .json(schedule, status: 201)
        }
        let list = ScheduleList(agent: Agent(transport))
        let form = form()
        while transport.requests.count <= 20 {
            do { _ = try await list.create(form) } catch { #expect((error as? Trouble)?.kind == .connectionLost) }
        }
        let posts = transport.requests.filter { $0.method == "POST" }
        #expect(posts.allSatisfy { $0.target == "/schedules" })
        #expect(Set(posts.map { $0.headers["Idempotency-Key"] ?? "" }).count == 1 && posts.count == 21)
        #expect(list.schedules.count == 1)
        form.name = "another"
        _ = try await list.create(form)
        #expect(Set(transport.requests.compactMap { $0.headers["Idempotency-Key"] }).count == 2)
    }
}
