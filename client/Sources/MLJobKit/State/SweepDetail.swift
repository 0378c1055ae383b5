import Foundation
import Observation

/// One sweep as its page shows it: the sweep, its trials, and their curves.
@MainActor @Observable
public final class SweepDetail: Identifiable {
    public nonisolated let id: Sweep.ID
    /// Nil until the first answer.
    public private(set) var sweep: Sweep?
    /// In the order of their numbers.
    public private(set) var trials: [SweepTrial] = []
    /// Whether the trials were loaded once.
    public private(set) var isLoaded = false
    /// Why the trials could not be loaded.
    public private(set) var trouble: Trouble?
    /// The last action's failure, until it is set to nil.
    public var actionTrouble: Trouble?
    public private(set) var isActing = false
    public let curves: TrialCurves

    /// Called with each newer state of the sweep.
    @ObservationIgnored public var onSweep: ((Sweep) -> Void)?
    @ObservationIgnored private let agent: Agent
    @ObservationIgnored private let context: @MainActor () -> TroubleContext
    @ObservationIgnored private var pages: [Page] = []
    /// The sweep's revision when its trials were asked for.
    @ObservationIgnored private var loaded = 0

    /// A page of trials, and the cursor with which it was asked for.
    private struct Page {
        let cursor: String?
        let trials: [SweepTrial]

        /// Nothing of it changes any more.
        var isFinal: Bool { trials.allSatisfy { $0.status.isFinal } }
    }

    public init(
        _ id: Sweep.ID, agent: Agent, sweep: Sweep? = nil,
        context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }
    ) {
        self.id = id
        self.agent = agent
        self.sweep = sweep
        self.context = context
        curves = TrialCurves(agent: agent)
    }

    // MARK: Following

    /// Keeps the trials as they are on the host until the task is cancelled or the host refuses for good. Looks every
    /// `seconds` whether the sweep has changed, ten times less often while the host does not answer.
    public func run(every seconds: TimeInterval = 1) async {
        repeat {
            if loaded < sweep?.revision ?? 1 { await load() }
            guard trouble?.mayPass ?? true else { return }
            try? await Task.sleep(for: .seconds(trouble == nil ? seconds : 10 * seconds))
        } while !Task.isCancelled
    }

    private func load() async {
        do {
            let now = try await agent.sweep(id)
            take(now)
            try await loadTrials()
            (loaded, isLoaded, trouble) = (now.revision, true, nil)
        } catch {
            trouble = Trouble(error, context())
        }
    }

    /// Asks for the pages from the first one on that may have changed.
    private func loadTrials() async throws {
        let first = pages.firstIndex { !$0.isFinal } ?? max(pages.count - 1, 0)
        var fresh = Array(pages.prefix(first))
        var cursor = pages.indices.contains(first) ? pages[first].cursor : nil
        repeat {
            let page = try await agent.trials(of: id, cursor: cursor)
            fresh.append(Page(cursor: cursor, trials: page.trials))
            cursor = page.nextCursor
        } while cursor != nil
        pages = fresh
        trials = fresh.flatMap(\.trials)
    }

    /// A state of the sweep as the stream or an answer gave it.
    public func take(_ sweep: Sweep) {
        guard sweep.revision >= self.sweep?.revision ?? 0 else { return }
        self.sweep = sweep
        onSweep?(sweep)
    }

    /// A job of the sweep as the stream of jobs gave it: a trial has begun or ended.
    public func take(_ job: Job) {
        guard let at = trials.firstIndex(where: { $0.jobID == job.id }), !trials[at].status.isFinal else { return }
        trials[at].status = job.status
        trials[at].reason = job.reason
        trials[at].startedAt = job.startedAt
        trials[at].finishedAt = job.finishedAt
    }

    // MARK: Acting

    public func pause() async { await act { try await $0.pauseSweep(self.id) } }
    public func resume() async { await act { try await $0.resumeSweep(self.id) } }
    public func cancel() async { await act { try await $0.cancelSweep(self.id) } }
    public func extend(to trials: Int) async { await act { try await $0.extendSweep(self.id, to: trials) } }
    public func setPinned(_ isPinned: Bool) async { await act { try await $0.setSweepPinned(isPinned, self.id) } }

    private func act(_ deed: @escaping @Sendable (Agent) async throws -> Sweep) async {
        isActing = true
        defer { isActing = false }
        do {
            take(try await deed(agent))
            actionTrouble = nil
        } catch {
            actionTrouble = Trouble(error, context())
        }
    }
}
