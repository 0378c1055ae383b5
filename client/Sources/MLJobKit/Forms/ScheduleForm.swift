import Foundation
import Observation

/// The form of a new schedule: a job's form, and when it is submitted. The times are the host's to say, so it is made
/// once they have been seen.
@MainActor @Observable
public final class ScheduleForm {
    /// What each run submits.
    public let job: ScriptForm
    public var name = ""
    /// A calendar expression of systemd.time(7).
    public var calendar = ""
    public var timeZone = TimeZone.current.identifier
    public var overlap = ScheduleOverlap.skip
    /// Each time is delayed at random by up to so much; empty for no delay.
    public var delay = ""
    private var refusals = Refusals()
    /// What the agent says of no field of the form.
    private var others: [String: String] = [:]
    private var preview: (request: ScheduleRequest, answer: SchedulePreview)?
    @ObservationIgnored private var sent: (request: ScheduleRequest, key: String)?

    /// Calendars that are often asked for, and what they mean.
    public static let examples: [(calendar: String, meaning: String)] = [
        ("hourly", "each hour"), ("*-*-* 02:00", "each night at 2:00"),
        ("Mon..Fri 02:00", "each working day at 2:00"), ("Mon 06:30", "each Monday at 6:30"),
        ("*-*-01 06:30", "the first of each month at 6:30"),
    ]
    public static let mostDelay = 86_400

    public init(script: Script) {
        job = ScriptForm(script: script)
        name = script.name
    }

    // MARK: Checking

    /// Everything that is wrong, by field: `calendar`, `time_zone`, …, and those of the job.
    public var objections: [String: String] {
        var found = Self.ofJob(job.objections).merging(others) { $1 }
        for (field, value) in values {
            if let objection = refusals.message(for: field, value: value) { found[field] = objection }
        }
        return found.merging(ownObjections) { $1 }
    }

    private var ownObjections: [String: String] {
        var found = Self.ofJob(job.ownObjections)
        found["name"] = name.isEmpty ? "is missing" : nil
        if name.unicodeScalars.count > 128 { found["name"] = "must have 128 characters at most" }
        if let objection = ParameterCheck.text(name) { found["name"] = objection }
        if calendar.count > 128 || calendar.wholeMatch(of: /[A-Za-z0-9*][A-Za-z0-9 *:,.\/~-]*/) == nil {
            found["calendar"] = "must be a calendar expression, such as Mon..Fri 02:00"
        }
        if timeZone.count > 64 || timeZone.wholeMatch(of: /[A-Za-z][A-Za-z0-9_+-]*(\/[A-Za-z0-9_+-]+)*/) == nil {
            found["time_zone"] = "must be a time zone, such as Europe/Rome"
        }
        if !delay.isEmpty, !(0...Self.mostDelay).contains(Quantity.seconds(delay) ?? -1) {
            found["randomized_delay_seconds"] = "must be a time up to 1d, such as 10m"
        }
        return found
    }

    /// The schedule has a name, too.
    private static func ofJob(_ objections: [String: String]) -> [String: String] {
        Dictionary(objections.map { ($0 == "name" ? "job.name" : $0, $1) }) { $1 }
    }

    public var isValid: Bool { ownObjections.isEmpty }

    /// The schedule's own fields, with what was typed.
    private var values: [String: String] {
        [
            "name": name, "calendar": calendar, "time_zone": timeZone, "overlap": overlap.rawValue,
            "randomized_delay_seconds": delay,
        ]
    }

    /// Shows what the agent refused beside its fields. Those of the job may have `job.` before them.
    public func show(_ problems: [FieldProblem]) {
        (refusals, others) = (Refusals(), [:])
        var ofJob: [FieldProblem] = []
        for problem in problems {
            if let value = values[problem.field] {
                refusals.add(problem.field, problem.message, value: value)
            } else if problem.field == "job" {
                others["job"] = problem.message
            } else {
                let field = problem.field.hasPrefix("job.") ? String(problem.field.dropFirst(4)) : problem.field
                ofJob.append(FieldProblem(field: field, message: problem.message))
            }
        }
        job.show(ofJob)
    }

    // MARK: What is sent

    public var request: ScheduleRequest {
        let seconds = Quantity.seconds(delay) ?? 0
        return ScheduleRequest(
            name: name, calendar: calendar, timeZone: timeZone, overlap: overlap,
            randomizedDelaySeconds: seconds == 0 ? nil : seconds, job: job.request)
    }

    /// The calendar as systemd writes it and the next times, for as long as the form is as it was asked for.
    public var shown: SchedulePreview? { preview.flatMap { $0.request == request ? $0.answer : nil } }

    func show(_ answer: SchedulePreview, of request: ScheduleRequest) { preview = (request, answer) }

    /// The idempotency key of this request: another one for another request.
    func key(for request: ScheduleRequest) -> String {
        if let sent, sent.request == request { return sent.key }
        let key = UUID().uuidString
        sent = (request, key)
        return key
    }
}

extension ScheduleList {
    /// Shows the next times of a schedule in its form; nothing is made. Raises `Trouble`, whose fields are shown there.
    public func preview(_ form: ScheduleForm) async throws {
        let request = form.request
        form.show(try await asked(form) { try await $0.previewSchedule(request) }, of: request)
    }

    /// Makes the schedule. Asked again for the same form, after an answer that was lost, it makes no second one.
    public func create(_ form: ScheduleForm) async throws -> Schedule {
        let request = form.request
        let key = form.key(for: request)
        let schedule = try await asked(form) { try await $0.createSchedule(request, key: key) }
        await load()
        return schedule
    }

    private func asked<Answer: Sendable>(
        _ form: ScheduleForm, _ ask: (Agent) async throws -> Answer
    ) async throws -> Answer {
        form.show([])
        do {
            return try await ask(agent)
        } catch {
            guard let trouble = Trouble(error, context()) else { throw error }
            form.show(trouble.fields)
            throw trouble
        }
    }
}
