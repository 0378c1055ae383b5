import Foundation
import Observation

/// One host while the app runs: its jobs, sweeps, submissions, scripts and certificate.
@MainActor @Observable
public final class HostSession: Identifiable {
    public nonisolated let id: HostConfiguration.ID
    public private(set) var configuration: HostConfiguration
    public let jobs: JobList
    public let sweeps: SweepList
    public let schedules: ScheduleList
    public let models: ModelList
    public let outbox: Outbox
    public private(set) var scripts: [Script] = []
    /// The commit that `scripts` are of.
    public private(set) var scriptsCommit: String?
    public private(set) var scriptsTrouble: Trouble?
    public private(set) var secrets: [SecretEntry] = []
    public private(set) var secretsTrouble: Trouble?
    public private(set) var info: HostInfo?
    public private(set) var infoTrouble: Trouble?
    /// Why the certificate could not be renewed so far.
    public private(set) var renewalTrouble: Trouble?
    public private(set) var isRenewing = false

    @ObservationIgnored public let agent: Agent
    /// Called with each job that ended and that its user has not been told of.
    @ObservationIgnored public var onEnd: ((Job) -> Void)?
    @ObservationIgnored var onConfiguration: ((HostConfiguration) throws -> Void)?
    @ObservationIgnored private let enroller: Enroller
    @ObservationIgnored private let notices: EndNotices
    @ObservationIgnored private let folder: URL
    @ObservationIgnored private var details: [Job.ID: JobDetail] = [:]
    @ObservationIgnored private var sweepDetails: [Sweep.ID: SweepDetail] = [:]
    @ObservationIgnored private var sharings: [SharedThing: SharingModel] = [:]
    @ObservationIgnored private var running: [Task<Void, Never>] = []

    /// `folder` is the app's own, for submissions and notices. Raises `VaultError` where the identity is not there.
    public init(
        _ configuration: HostConfiguration, enroller: Enroller, folder: URL, backoff: Backoff = Backoff()
    ) throws {
        id = configuration.id
        self.configuration = configuration
        self.enroller = enroller
        self.folder = folder.appendingPathComponent(configuration.id.uuidString)
        agent = Agent(transport: try enroller.transport(for: configuration))
        notices = EndNotices(user: configuration.user, file: self.folder.appendingPathComponent("waited-for.json"))
        sweeps = SweepList(agent: agent)
        let context = ContextBox()
        schedules = ScheduleList(agent: agent, context: { context.value() })
        models = ModelList(agent: agent, context: { context.value() })
        jobs = JobList(agent: agent, backoff: backoff, context: { context.value() })
        outbox = Outbox(
            agent: agent, file: self.folder.appendingPathComponent("outbox.json"), context: { context.value() })
        context.value = { [weak self] in self?.context ?? TroubleContext() }
        jobs.onChange = { [weak self] _, job in self?.changed(job) }
        jobs.onCurrent = { [weak self] in Task { await self?.tend() } }
        jobs.onSweep = { [weak self] in self?.sweeps.insert($0) }
        jobs.onReset = { [weak self] in self?.sweeps.reset() }
        sweeps.onChange = { [weak self] in self?.sweepDetails[$0.id]?.take($0) }
        outbox.onAccepted = { [weak self] _, accepted in self?.insert(accepted) }
    }

    private func insert(_ accepted: Outbox.Accepted) {
        switch accepted {
        case .job(let job): jobs.insert(job)
        case .sweep(let sweep): sweeps.insert(sweep)
        }
    }

    @MainActor private final class ContextBox { var value: () -> TroubleContext = { TroubleContext() } }

    /// What explains an error of this host.
    public var context: TroubleContext {
        TroubleContext(host: configuration.name, certificate: configuration.details, clockSkew: agent.clockSkew)
    }

    public var connection: ConnectionState { jobs.connection }

    // MARK: Life

    /// Follows the jobs, sends what waits, and renews the certificate in time, until `stop`.
    public func start() {
        guard running.isEmpty else { return }
        running = [
            Task { [weak self] in await self?.jobs.run() },
            Task { [weak self] in await self?.tendForever() },
        ]
    }

    public func stop() {
        for task in running { task.cancel() }
        running = []
    }

    /// Begins again after the host had refused for good.
    public func restart() {
        stop()
        start()
    }

    /// The Mac is about to sleep.
    public func sleep() { agent.streams.sleep() }

    /// The Mac has woken up, or its network is another one.
    public func wake() { agent.streams.wake() }

    /// Ends all and frees the connections.
    public func close() {
        stop()
        agent.transport.invalidate()
    }

    /// Also without a new connection: a submission may wait for a busy host, and the certificate grows old.
    private func tendForever() async {
        while !Task.isCancelled {
            await tend()
            try? await Task.sleep(for: .seconds(outbox.entries.isEmpty ? 60 : 5))
        }
    }

    private func tend() async {
        guard connection.isConnected else { return }
        await outbox.flush()
        await renewIfDue()
    }

    private func changed(_ job: Job) {
        if let sweep = job.sweep { sweepDetails[sweep]?.take(job) }
        if notices.isNews(job) { onEnd?(job) }
    }

    /// The job's window; the same one as long as it is open.
    public func detail(of id: Job.ID) -> JobDetail {
        if let known = details[id] { return known }
        let detail = JobDetail(
            id, agent: agent, job: jobs.jobs[id], context: { [weak self] in self?.context ?? TroubleContext() })
        detail.onJob = { [weak self] in self?.jobs.insert($0) }
        details[id] = detail
        return detail
    }

    /// The job's window was closed: its log is given up.
    public func closeDetail(of id: Job.ID) { details[id] = nil }

    /// The sweep's page; the same one as long as it is open.
    public func detail(ofSweep id: Sweep.ID) -> SweepDetail {
        if let known = sweepDetails[id] { return known }
        let detail = SweepDetail(
            id, agent: agent, sweep: sweeps.sweeps[id], context: { [weak self] in self?.context ?? TroubleContext() })
        detail.onSweep = { [weak self] in self?.sweeps.insert($0) }
        sweepDetails[id] = detail
        return detail
    }

    /// The sweep's page was closed: its trials are given up.
    public func closeDetail(ofSweep id: Sweep.ID) { sweepDetails[id] = nil }

    /// A comparison of jobs, for a view that shows one.
    public func comparison() -> ComparisonModel {
        ComparisonModel(agent: agent, context: { [weak self] in self?.context ?? TroubleContext() })
    }

    /// Who may read something: the same model for all views that show it.
    public func sharing(of thing: SharedThing) -> SharingModel {
        if let known = sharings[thing] { return known }
        let sharing = SharingModel(thing, agent: agent, context: { [weak self] in self?.context ?? TroubleContext() })
        sharings[thing] = sharing
        return sharing
    }

    /// What a form offers as inputs.
    public func inputSources() -> InputSources {
        InputSources(agent: agent, context: { [weak self] in self?.context ?? TroubleContext() })
    }

    func rename(to name: String) { configuration.name = name }

    // MARK: Asking

    public func loadScripts(ref: String? = nil) async {
        do {
            let list = try await agent.scripts(ref: ref)
            (scripts, scriptsCommit, scriptsTrouble) = (list.scripts, list.commit, nil)
        } catch {
            scriptsTrouble = Trouble(error, context)
        }
    }

    public func loadInfo() async {
        do {
            info = try await agent.host()
            infoTrouble = nil
        } catch {
            infoTrouble = Trouble(error, context)
        }
    }

    public func loadSecrets() async {
        do {
            secrets = try await agent.secrets()
            secretsTrouble = nil
        } catch {
            secretsTrouble = Trouble(error, context)
        }
    }

    public func setSecret(_ name: String, to value: Data) async throws -> SecretChange {
        do {
            let change = try await agent.setSecret(name, to: value)
            await loadSecrets()
            return change
        } catch {
            throw Trouble(error, context) ?? error
        }
    }

    public func removeSecret(_ name: String) async throws {
        do {
            _ = try await agent.removeSecret(name)
        } catch let problem as Problem where problem.code == "secret-not-found" {
            // Its first answer was lost, or somebody else was faster: it is gone.
        } catch {
            throw Trouble(error, context) ?? error
        }
        await loadSecrets()
    }

    /// A form to run a job again, with the declaration of its script at the job's commit.
    public func rerunForm(of job: Job) async -> ScriptForm {
        let list = try? await agent.scripts(ref: job.commit)
        let script = (list?.scripts ?? scripts).first { $0.name == job.scriptName }
        return ScriptForm(rerun: job, script: script)
    }

    /// Submits a form. Returns the job; nil where the submission waits in the outbox. Raises `Trouble`, whose fields are
    /// shown in the form.
    public func submit(_ form: ScriptForm) async throws -> Job? {
        form.clearRefusals()
        let body = form.original.map { Outbox.Entry.Body.rerun($0.id, form.rerun) } ?? .submit(form.request)
        return try await send(body, refused: form.show)?.job
    }

    /// The same for a sweep.
    public func submit(_ form: SweepForm) async throws -> Sweep? {
        form.clearRefusals()
        return try await send(.sweep(form.request), refused: form.show)?.sweep
    }

    /// Runs a sweep again. Returns the new one; nil where the submission waits in the outbox. Raises `Trouble`.
    public func rerun(_ sweep: Sweep, _ changes: SweepChanges) async throws -> Sweep? {
        try await send(.rerunSweep(sweep.id, changes.request)) { _ in }?.sweep
    }

    private func send(
        _ body: Outbox.Entry.Body, refused: ([FieldProblem]) -> Void
    ) async throws -> Outbox.Accepted? {
        do {
            return try await outbox.send(body)
        } catch let trouble as Trouble {
            refused(trouble.fields)
            throw trouble
        }
    }

    // MARK: The certificate

    /// Renews in the last third of the certificate's life.
    private func renewIfDue() async {
        guard let details = configuration.details, details.renewFrom < Date() else { return }
        await renew()
    }

    /// Replaces key and certificate, and goes on under the new ones. Streams go on where they were.
    public func renew() async {
        guard !isRenewing else { return }
        isRenewing = true
        defer { isRenewing = false }
        do {
            let renewed = try await enroller.renew(configuration, over: agent)
            let old = configuration.identity
            try onConfiguration?(renewed)
            configuration = renewed
            agent.replaceTransport(try enroller.transport(for: renewed))
            try enroller.vault.remove(old)
            renewalTrouble = nil
        } catch {
            renewalTrouble = Trouble(error, context)
        }
    }
}
