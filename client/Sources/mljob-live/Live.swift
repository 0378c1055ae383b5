import Foundation
import MLJobKit

/// What an analyst does in a day, in order.
@MainActor
final class Live {
    private let environment: Environment
    private let vault: any IdentityVault
    private let hosts: Hosts
    let session: HostSession
    private(set) var checks = 0

    init(_ environment: Environment) async throws {
        self.environment = environment
        vault = try environment.vault()
        hosts = Hosts(vault: vault, folder: environment.folder.appendingPathComponent("app"))
        if let invitation = environment.invitation {
            let model = EnrolmentModel(hosts: hosts)
            await model.enrol(invitation)
            if let trouble = model.trouble {
                throw Failure(description: "enrolment: \(trouble.title) \(trouble.detail)")
            }
        } else {
            say("SKIPPED: enrolment, which this agent does not offer; the certificate was issued")
            try hosts.add(try environment.issued(vault, name: "alice"))
        }
        guard let session = hosts.selected else { throw Failure(description: "no host: \(hosts.broken)") }
        self.session = session
    }

    func run() async throws {
        defer { session.close() }
        if environment.invitation != nil {
            check(true, "enrolled as \(session.configuration.user) with a one-time code")
        }
        let job = try await submit()
        try await followLog()
        try await metricsAndArtifacts(of: job)
        try await experiments(with: job)
        let rerun = try await rerun(job)
        try await cancel(rerun)
        try await pin(job)
        try await renew()
        try await firstClient()
    }

    func check(_ isRight: Bool, _ what: String) {
        say("\(isRight ? "ok  " : "FAIL") \(what)")
        if !isRight { exit(1) }
        checks += 1
    }

    func wait(_ what: String, _ isThere: () -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(180)
        while !isThere() {
            guard ContinuousClock.now < deadline else {
                throw Failure(description: "waited in vain for \(what); the list is \(session.connection)")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// The same host and identity at another address.
    private func agent(at address: URL) throws -> Agent {
        let configuration = session.configuration
        return Agent(
            transport: try vault.transport(
                to: address, as: configuration.identity, trusting: .authorities(configuration.authorities)))
    }

    // MARK: Steps

    private func submit() async throws -> Job {
        await session.loadScripts()
        let script = session.scripts.first { $0.name == "train_churn_model.py" }
        check(script != nil, "\(session.scripts.count) scripts at \(session.scriptsCommit?.prefix(8) ?? "?")")
        guard let script else { throw Failure(description: "\(session.scriptsTrouble as Any)") }
        let form = ScriptForm(script: script)
        set(form, "n_estimators", "0")
        check(
            form.objections["hyperparameters.n_estimators"] == "must be at least 1",
            "the form refuses what the agent would")
        set(form, "n_estimators", "90")
        form.name = "live"
        check(form.isValid, "the form is valid: \(form.fields.count) parameters")
        try await wait("the list") { session.connection.isConnected }
        guard let job = try await session.submit(form) else { throw Failure(description: "the submission waits") }
        let isComplete = form.fields.allSatisfy { job.hyperparameters[$0.name] ?? "" == $0.effectiveValue }
        check(
            isComplete && job.hyperparameters["n_estimators"] == "90" && session.outbox.entries.isEmpty,
            "submitted \(job.id) with \(job.hyperparameters.count) parameters, defaults among them")
        try await wait("progress in the list") {
            session.jobs.progress[job.id] != nil || session.jobs.jobs[job.id]?.status.isFinal == true
        }
        try await wait("the job's end") { session.jobs.jobs[job.id]?.status.isFinal == true }
        let ended = session.jobs.jobs[job.id]
        check(
            ended?.status == .completed,
            "the list showed it to its end by itself: \(ended?.outcome ?? "?") \(ended?.message ?? "")")
        check(session.jobs.visible.contains { $0.id == job.id }, "\(session.jobs.visible.count) jobs in the list")
        return ended ?? job
    }

    private func set(_ form: ScriptForm, _ name: String, _ value: String) {
        if let at = form.fields.firstIndex(where: { $0.name == name }) { form.fields[at].value = value }
    }

    private func followLog() async throws {
        let request = JobRequest(scriptName: "hello.py", hyperparameters: ["lines": "3000", "sleep": "0.002"])
        let job = try await session.agent.submit(request, key: UUID().uuidString)
        let log = LogModel(agent: try agent(at: environment.logAddress), job: job.id)
        log.filter.showsSystem = false
        await log.run()
        check(log.isComplete, "the log is whole, \(log.connection)")
        let lines = (0..<log.count).map { log.row(at: $0).text }
        let expected = (1...3000).map { "Hello, world! (\($0) of 3000)" }
        check(lines == expected, "\(lines.count) lines once and in order, \(log.gaps) gaps")
        log.search = "(2999 OF"
        await log.searched()
        check(log.matches.count == 1, "the search finds one of them")
        let file = environment.folder.appendingPathComponent("log.txt")
        try await log.save(to: file)
        check(
            try String(contentsOf: file, encoding: .utf8) == expected.map { $0 + "\n" }.joined(), "saved as plain text")
    }

    private func metricsAndArtifacts(of job: Job) async throws {
        let detail = session.detail(of: job.id)
        await detail.run()
        let series = detail.metrics.series
        check(
            detail.metrics.isComplete && !series.isEmpty,
            "metrics: \(series.map { "\($0.name) (\($0.points.count))" }.joined(separator: ", "))")
        check(detail.metrics.progress?.fraction == 1, "progress is at its end")
        guard let artifacts = detail.manifest?.artifacts, !artifacts.isEmpty else {
            throw Failure(description: "no artifacts: \(detail.manifestTrouble as Any)")
        }
        let folder = environment.folder.appendingPathComponent("artifacts")
        let cut = try agent(at: environment.downloadAddress)
        for artifact in artifacts.sorted(by: { $0.size > $1.size }) {
            let file = try artifact.destination(in: folder)
            try await cut.download(artifact, of: job.id, to: file)
            let data = try Data(contentsOf: file)
            check(
                data.count == artifact.size && data.sha256 == artifact.sha256,
                "\(artifact.path): \(artifact.size) bytes, SHA-256 right")
        }
    }

    private func rerun(_ job: Job) async throws -> Job {
        let form = await session.rerunForm(of: job)
        set(form, "n_estimators", "4000")
        form.limits.runTime = "20m"
        let changes = form.changes.map { "\($0.field): \($0.before ?? "–") → \($0.after ?? "–")" }
        check(
            changes.contains("n_estimators: 90 → 4000") && changes.count == 2,
            "rerun with \(changes.joined(separator: ", "))")
        guard let again = try await session.submit(form) else { throw Failure(description: "the rerun waits") }
        check(
            again.rerunOf == job.id && again.commit == job.commit && again.hyperparameters["n_estimators"] == "4000"
                && again.limits.runTimeSeconds == 1200, "rerun \(again.id) of the same commit")
        return again
    }

    private func cancel(_ job: Job) async throws {
        try await wait("the rerun's start") { session.jobs.jobs[job.id]?.status == .running }
        let detail = session.detail(of: job.id)
        await detail.cancel()
        check(detail.actionTrouble == nil && detail.job?.cancelRequested == true, "cancellation is under way")
        try await wait("the rerun's end") { session.jobs.jobs[job.id]?.status.isFinal == true }
        check(session.jobs.jobs[job.id]?.status == .cancelled, "the list shows it cancelled")
    }

    private func pin(_ job: Job) async throws {
        let detail = session.detail(of: job.id)
        await detail.setPinned(true)
        check(detail.job?.pinned == true && detail.actionTrouble == nil, "pinned")
        try await wait("the pin in the list") { session.jobs.jobs[job.id]?.pinned == true }
        session.jobs.filter = .pinned
        check(session.jobs.visible.map(\.id).contains(job.id), "the list of pinned jobs has it")
        session.jobs.filter = .all
        await detail.setPinned(false)
        check(detail.job?.pinned == false, "unpinned")
    }

    private func renew() async throws {
        let old = session.configuration
        guard let serial = old.details?.serial else {
            throw Failure(description: "the certificate has no serial number")
        }
        let stale = environment.usesURLSession ? nil : Agent(transport: try hosts.enroller.transport(for: old))
        await session.renew()
        check(
            session.renewalTrouble == nil,
            "renewed: \(session.renewalTrouble?.title ?? serial) → \(session.configuration.details?.serial ?? "?")")
        try run(environment.revoke + [serial])
        if let stale {
            do {
                _ = try await stale.host()
                check(false, "the old certificate is refused")
            } catch let problem as Problem {
                check(
                    problem.code == "certificate-refused" && problem.status == 400,
                    "the old certificate is refused, with a status that macOS shows: \(problem.detail)")
            }
        }
        await session.loadInfo()
        check(session.infoTrouble == nil && session.info != nil, "the session goes on with the new one")
        let request = JobRequest(scriptName: "hello.py", hyperparameters: ["name": "the renewed"])
        let job = try await session.agent.submit(request, key: UUID().uuidString)
        try await wait("a job in the list after the renewal") { session.jobs.jobs[job.id]?.status.isFinal == true }
        check(session.jobs.jobs[job.id]?.status == .completed, "and so does the list")
    }

    private func run(_ command: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(description: "\(command) failed") }
    }

    // MARK: The first client

    /// What the first client of this contract decodes: three strings, none of them null.
    private struct FirstJob: Decodable {
        let jobID: String
        let containerID: String
        let status: String

        enum CodingKeys: String, CodingKey {
            case jobID = "job_id"
            case containerID = "container_id"
            case status
        }
    }

    private func firstClient() async throws {
        let transport = session.agent.transport
        func ask(_ request: HTTPRequest, _ status: Int) async throws -> Data {
            let (response, data) = try await transport.send(request)
            guard response.status == status else {
                throw Failure(description: "HTTP \(response.status) for \(request.target)")
            }
            return data
        }
        let body = #"{"script_name":"hello.py","hyperparameters":{"lines":"5","sleep":"0.1"}}"#
        let post = HTTPRequest("POST", "/jobs", headers: ["Content-Type": "application/json"], body: Data(body.utf8))
        var job = try JSONDecoder().decode(FirstJob.self, from: try await ask(post, 202))
        check(
            job.status == "PENDING" || job.status == "CREATED",
            "the first client's submission: \(job.jobID) \(job.status)")
        while job.status != "COMPLETED" && job.status != "FAILED" {
            try await Task.sleep(for: .milliseconds(300))
            job = try JSONDecoder().decode(
                FirstJob.self, from: try await ask(HTTPRequest("GET", "/jobs/\(job.jobID)"), 200))
        }
        check(
            job.status == "COMPLETED" && !job.containerID.isEmpty,
            "it polls to the end, in container \(job.containerID.prefix(12))")
        let log = String(decoding: try await ask(HTTPRequest("GET", "/jobs/\(job.jobID)/logs"), 200), as: UTF8.self)
        check(
            log.hasPrefix("Hello, world! (1 of 5)\n") && log.hasSuffix("(5 of 5)\n"), "it reads the log as plain text")
    }
}
