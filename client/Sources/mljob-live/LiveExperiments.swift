import Foundation
import MLJobKit

/// What an analyst does with a job that has completed: share it, name its model, use it, and have it run by itself.
extension Live {
    func experiments(with job: Job) async throws {
        try await share(job)
        let model = try await name(job)
        try await use(job, model)
        try await schedule()
    }

    private func share(_ job: Job) async throws {
        let sharing = session.sharing(of: .job(job.id))
        await sharing.begin()
        check(sharing.isLoaded && sharing.readers?.words == nil, "nobody else reads the job")
        sharing.users = [SharingModel.User(name: "bob"), SharingModel.User(name: "Not A User")]
        do {
            try await sharing.save()
            check(false, "a name that is none is refused")
        } catch let trouble as Trouble {
            check(
                sharing.users[1].objection != nil && sharing.users[0].objection == nil && !trouble.fields.isEmpty,
                "the host's refusal stands beside its row: \(trouble.fields.map { "\($0.field) \($0.message)" })")
        }
        sharing.users.removeLast()
        try await sharing.save()
        let shared = try await session.agent.readers(of: .job(job.id))
        check(shared?.users == ["bob"] && sharing.readers == shared, "shared with \(shared?.words ?? "nobody")")
        sharing.users = []
        try await sharing.save()
        let nobody = try await session.agent.readers(of: .job(job.id))
        check(nobody?.words == nil, "and with nobody any more")
    }

    private func name(_ job: Job) async throws -> ModelList.AliasAddress {
        let detail = session.detail(of: job.id)
        await detail.loadArtifacts()
        guard let file = detail.manifest?.artifacts.first else { throw Failure(description: "no artifacts") }
        let address = ModelList.AliasAddress(model: "live", alias: "champion")
        await session.models.load()
        try await session.models.move(address, to: AliasTarget(jobID: job.id, path: file.path))
        await session.models.loadHistory(of: address)
        let moves = session.models.histories[address] ?? []
        check(
            moves.first?.sha256 == file.sha256,
            "\(address.model) \(address.alias) is \(file.path), \(moves.count) moves")
        let sharing = session.sharing(of: .model(address.model))
        await sharing.begin()
        sharing.everybody.toggle()
        try await sharing.save()
        await session.models.load()
        let known = session.models.models.first { $0.id == address.model }
        check(known?.readers == sharing.readers, "the model is for \(known?.readers.words ?? "nobody else")")
        return address
    }

    private func use(_ job: Job, _ model: ModelList.AliasAddress) async throws {
        let sources = session.inputSources()
        await sources.load(job.id)
        guard let script = session.scripts.first(where: { $0.name == "hello.py" }),
            let file = sources.files[job.id]?.first
        else { throw Failure(description: "no script or file: \(sources.troubles)") }
        let form = ScriptForm(script: script)
        form.earlier.inputs = [InputField(name: "file"), InputField(name: "best")]
        form.earlier.choose(job, for: form.earlier.inputs[0].id)
        form.earlier.inputs[0].path = "no-such-file"
        form.earlier.inputs[1].source = .model
        (form.earlier.inputs[1].model, form.earlier.inputs[1].alias) = (model.model, model.alias)
        do {
            _ = try await session.submit(form)
            check(false, "an input that is not there is refused")
        } catch is Trouble {
            check(form.objections.keys.sorted() == ["inputs.file.path"], "the host's refusal: \(form.objections)")
        }
        let first = try await session.agent.submit(
            JobRequest(scriptName: "hello.py", hyperparameters: ["lines": "20", "sleep": "0.2"]),
            key: UUID().uuidString)
        form.earlier.inputs[0].path = file.path
        form.earlier.wait(for: first)
        guard let second = try await session.submit(form) else { throw Failure(description: "the submission waits") }
        check(
            second.inputs["file"]?.sha256 == file.sha256 && second.inputs["best"]?.alias == model.alias
                && second.after == [first.id],
            "\(second.id) has \(second.inputs.count) inputs and waits for \(first.id)")
        try await wait("the second job's end") { session.jobs.jobs[second.id]?.status.isFinal == true }
        let (one, two) = (session.jobs.jobs[first.id], session.jobs.jobs[second.id])
        check(two?.status == .completed, "it ran: \(two?.outcome ?? "?") \(two?.message ?? "")")
        check(
            (two?.startedAt ?? .distantPast) >= (one?.finishedAt ?? .distantFuture),
            "and not before the other had ended")
    }

    private func schedule() async throws {
        guard let script = session.scripts.first(where: { $0.name == "hello.py" }) else { return }
        let form = ScheduleForm(script: script)
        form.name = "live"
        form.calendar = "2020-02-30 02:00"
        form.timeZone = "Europe/Rome"
        do {
            try await session.schedules.preview(form)
            check(false, "a day that never comes is refused")
        } catch is Trouble {
            check(form.objections.keys.sorted() == ["calendar"], "the host's refusal: \(form.objections)")
        }
        form.calendar = "Mon..Fri 02:00"
        try await session.schedules.preview(form)
        check(form.shown?.next.count == 5, "\(form.shown?.expression ?? "?"), \(form.shown?.next.count ?? 0) times")
        let made = try await session.schedules.create(form)
        let shown = session.schedules.schedules.first { $0.id == made.id }
        check(shown?.next == form.shown?.next && shown?.status == .active, "made \(made.id), which has these times")
        try await session.schedules.act(.pause, on: made)
        check(session.schedules.schedules.first { $0.id == made.id }?.status == .paused, "paused")
        try await session.schedules.act(.resume, on: made)
        try await session.schedules.act(.run, on: made)
        try await wait("the run's job") { session.jobs.jobs.values.contains { $0.schedule == made.id } }
        await session.schedules.loadRuns(of: made.id)
        let run = session.schedules.runs[made.id]?.first
        check(run?.manual == true && run?.status == .submitted, "run now, as \(run?.jobID ?? "?")")
        try await session.schedules.act(.remove, on: made)
        check(!session.schedules.schedules.contains { $0.id == made.id }, "removed")
    }
}
