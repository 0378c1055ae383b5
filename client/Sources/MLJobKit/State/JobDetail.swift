import Foundation
import Observation

/// One job as its window shows it.
@MainActor @Observable
public final class JobDetail: Identifiable {
    public nonisolated let id: Job.ID
    /// Nil until the first answer.
    public private(set) var job: Job?
    public private(set) var connection = ConnectionState.idle
    public private(set) var usage: Usage?
    /// Why the job waits, or ended as it did, as far as the host was asked. An older host does not know.
    public private(set) var explanation: Explanation?
    /// CPUs used since the last look.
    public private(set) var cpusUsed: Double?
    public private(set) var manifest: ArtifactManifest?
    /// Why there are no artifacts to show.
    public private(set) var manifestTrouble: Trouble?
    public let metrics = MetricsModel()
    public let log: LogModel
    /// The last action's failure, until it is set to nil.
    public var actionTrouble: Trouble?
    public private(set) var isActing = false

    @ObservationIgnored public let agent: Agent
    @ObservationIgnored private let context: @MainActor () -> TroubleContext
    @ObservationIgnored private let backoff: Backoff
    @ObservationIgnored private var runs = 0
    /// Called with each newer state of the job.
    @ObservationIgnored public var onJob: ((Job) -> Void)?

    public init(
        _ id: Job.ID, agent: Agent, job: Job? = nil, backoff: Backoff = Backoff(),
        context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }
    ) {
        self.id = id
        self.agent = agent
        self.job = job
        self.backoff = backoff
        self.context = context
        log = LogModel(agent: agent, job: id, backoff: backoff, context: context)
    }

    // MARK: Following

    /// Follows the job until the task is cancelled, the job has ended and all is shown, or the host refuses for good.
    public func run() async {
        connection = .connecting
        runs += 1
        let run = runs
        do {
            for try await event in agent.events(of: id, backoff: backoff) where run == runs { try await apply(event) }
            if run == runs { connection = .connected }
        } catch {
            // A run that was replaced says nothing of the one that goes on.
            guard run == runs else { return }
            guard let trouble = Trouble(error, context()) else {
                connection = .idle
                return
            }
            connection = .refused(trouble)
        }
    }

    func apply(_ event: JobEvent) async throws {
        switch event {
        case .connected:
            connection = .connected
            // The stream has no ids: what was missed is asked for.
            await loadMetrics()
            await loadArtifacts()
        case .job(let job):
            take(job)
        case .queue(let place):
            job?.queue = QueuePlace(position: place.position, waitsFor: place.waitsFor)
        case .progress(let progress): metrics.add(progress)
        case .metric(let metric): metrics.add(metric)
        case .interrupted(let error, let delay):
            guard let trouble = Trouble(error, context()) else { return }
            connection = .offline(trouble, retryAt: Date(timeIntervalSinceNow: delay))
        case .end(let job):
            take(job)
            await loadMetrics()
            await loadArtifacts()
        case .removed:
            throw Problem(
                code: "job-not-found", title: "No such job", status: 404, detail: "The record of this job was removed.")
        case .reset, .current, .sweep: break
        }
    }

    private func take(_ job: Job) {
        guard job.revision >= self.job?.revision ?? 0 else { return }
        self.job = job
        onJob?(job)
    }

    private func loadMetrics() async {
        if let known = try? await agent.metrics(id) { metrics.replace(known) }
    }

    /// What the job has left so far.
    public func loadArtifacts() async {
        do {
            manifest = try await agent.artifacts(id)
            manifestTrouble = nil
        } catch {
            manifestTrouble = Trouble(error, context())
        }
    }

    /// Asks why the job waits, or why it ended as it did.
    public func loadExplanation() async {
        if let known = try? await agent.explanation(id) { explanation = known }
    }

    /// Asks what the job uses, every `seconds`, for as long as it runs and the task is not cancelled.
    public func watchUsage(every seconds: TimeInterval = 2) async {
        while !Task.isCancelled, job?.status.isFinal != true {
            if let now = try? await agent.usage(id) { take(now) }
            try? await Task.sleep(for: .seconds(seconds))
        }
        cpusUsed = nil
    }

    private func take(_ now: Usage) {
        if let before = usage, let used = now.cpuSeconds, let earlier = before.cpuSeconds {
            let seconds = now.at.timeIntervalSince(before.at)
            cpusUsed = seconds > 0 ? max(used - earlier, 0) / seconds : cpusUsed
        }
        usage = now
    }

    // MARK: Acting

    public func cancel() async { await act { try await $0.cancel(self.id) } }
    public func setPinned(_ isPinned: Bool) async { await act { try await $0.setPinned(isPinned, self.id) } }

    private func act(_ deed: @escaping @Sendable (Agent) async throws -> Job) async {
        isActing = true
        defer { isActing = false }
        do {
            take(try await deed(agent))
            actionTrouble = nil
        } catch {
            actionTrouble = Trouble(error, context())
        }
    }

    /// Downloads an artifact below `folder` and returns its file. A file whose path has a part that begins with a dot is
    /// refused unless `hidden` is set.
    public func download(
        _ artifact: Artifact, into folder: URL, hidden: Bool = false, progress: (@Sendable (Int) -> Void)? = nil
    ) async throws -> URL {
        let file = try artifact.destination(in: folder, hidden: hidden)
        do {
            let isFinal = manifest?.complete ?? false
            try await agent.download(artifact, of: id, to: file, isFinal: isFinal, progress: progress)
        } catch {
            throw Trouble(error, context()) ?? error
        }
        return file
    }
}
