import Foundation
import Observation

/// All jobs that one may see, changing by themselves.
@MainActor @Observable
public final class JobList {
    /// By id. Complete for all jobs that have not ended, and as far back as was asked for the others.
    public private(set) var jobs: [Job.ID: Job] = [:]
    /// What running jobs said last of their progress.
    public private(set) var progress: [Job.ID: Progress] = [:]
    /// Values of a running job's first metric, for a small curve.
    public private(set) var sparklines: [Job.ID: [Double]] = [:]
    public private(set) var connection = ConnectionState.idle
    /// Whether there are older jobs that `loadOlder` would fetch.
    public private(set) var hasOlder = true
    public private(set) var isLoadingOlder = false

    /// Whether trials of sweeps are shown among the other jobs. Their sweep shows them anyway.
    public var showsTrials = false { didSet { if showsTrials != oldValue { cached = nil } } }
    public var filter = JobFilter.all { didSet { if filter != oldValue { cached = nil } } }
    public var search = "" {
        didSet { if search != oldValue { (cached, words) = (nil, JobIndex.words(search)) } }
    }
    public var sortOrder: [KeyPathComparator<Job>] = [KeyPathComparator(\.createdAt, order: .reverse)] {
        didSet { if sortOrder != oldValue { (cached, order) = (nil, JobOrder(sortOrder)) } }
    }

    /// Called with each job that is new or has changed.
    @ObservationIgnored public var onChange: ((_ old: Job?, _ new: Job) -> Void)?
    /// Called whenever the list has become current: the host answers.
    @ObservationIgnored public var onCurrent: (() -> Void)?
    /// Called with each sweep that the same stream tells.
    @ObservationIgnored public var onSweep: ((Sweep) -> Void)?
    /// Called where the host says that what was known before counts no more.
    @ObservationIgnored public var onReset: (() -> Void)?
    @ObservationIgnored private let agent: Agent
    @ObservationIgnored private let context: @MainActor () -> TroubleContext
    @ObservationIgnored private let backoff: Backoff
    @ObservationIgnored private var runs = 0
    @ObservationIgnored private var snapshot: [Job.ID: Job]?
    @ObservationIgnored private var cursor: String?
    @ObservationIgnored private var isAtOldest = false
    @ObservationIgnored private var loading: Set<Job.ID> = []
    /// What `visible` gave last, kept right as jobs change.
    @ObservationIgnored private var cached: [Job]?
    @ObservationIgnored private var order = JobOrder([KeyPathComparator(\.createdAt, order: .reverse)])
    @ObservationIgnored private var words: [String] = []
    @ObservationIgnored private var index = JobIndex()

    public init(
        agent: Agent, backoff: Backoff = Backoff(),
        context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }
    ) {
        self.agent = agent
        self.backoff = backoff
        self.context = context
    }

    // MARK: What a view shows

    /// The jobs that pass filter and search, in order.
    public var visible: [Job] {
        let all = jobs.values
        _ = (filter, search, sortOrder, showsTrials)  // a view that reads this is drawn anew when these change
        if let cached { return cached }
        let found = order.sorted(all.filter { isVisible($0) })
        cached = found
        return found
    }

    private func isVisible(_ job: Job) -> Bool {
        isListed(job) && filter.includes(job) && (words.isEmpty || index.has(job, words))
    }

    private func isListed(_ job: Job) -> Bool { showsTrials || job.sweep == nil }

    /// Puts a job where it belongs in what is visible, without sorting all.
    private func place(_ id: Job.ID) {
        guard var shown = cached else { return }
        cached = nil
        if let old = shown.firstIndex(where: { $0.id == id }) { shown.remove(at: old) }
        if let job = jobs[id], isVisible(job) {
            shown.insert(job, at: shown.partitioningIndex { order.isBefore(job, $0) })
        }
        cached = shown
    }

    public func count(_ filter: JobFilter) -> Int { jobs.values.count { isListed($0) && filter.includes($0) } }
    /// Whether the list leaves out a trial of some sweep.
    public var hidesTrials: Bool { !showsTrials && jobs.values.contains { $0.sweep != nil } }
    public var running: [Job] { jobs.values.filter { $0.status.isRunning }.sorted { $0.createdAt > $1.createdAt } }

    /// The oldest first.
    public func inOrderOfCreation(_ ids: Set<Job.ID>) -> [Job.ID] {
        ids.sorted { one, other in
            let (first, second) = (jobs[one]?.createdAt ?? .distantFuture, jobs[other]?.createdAt ?? .distantFuture)
            return first == second ? one < other : first < second
        }
    }

    // MARK: Following

    /// Follows `GET /events` until the task is cancelled or the host refuses for good.
    public func run() async {
        connection = .connecting
        runs += 1
        let run = runs
        do {
            for try await event in agent.events(backoff: backoff) where run == runs { apply(event) }
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

    func apply(_ event: JobEvent) {
        switch event {
        case .connected:
            snapshot = nil
            if jobs.isEmpty { connection = .connecting }
        case .reset:
            snapshot = [:]
            onReset?()
        case .job(let job): take(job)
        case .sweep(let sweep): onSweep?(sweep)
        case .removed(let id): forget(id)
        case .current: becomeCurrent()
        case .queue(let place): move(place)
        case .progress(let told): progress[told.jobID] = told.progress
        case .interrupted(let error, let delay):
            snapshot = nil
            guard let trouble = Trouble(error, context()) else { return }
            connection = .offline(trouble, retryAt: Date(timeIntervalSinceNow: delay))
        case .metric, .end: break
        }
    }

    /// A job as an answer gave it, which may be ahead of the stream.
    public func insert(_ job: Job) {
        guard job.revision >= jobs[job.id]?.revision ?? 0 else { return }
        replace(job)
    }

    private func take(_ job: Job) {
        if snapshot == nil { replace(job) } else { snapshot?[job.id] = job }
    }

    private func replace(_ job: Job) {
        let old = jobs.updateValue(job, forKey: job.id)
        if job.status.isFinal { progress[job.id] = nil }
        place(job.id)
        onChange?(old, job)
    }

    private func forget(_ id: Job.ID) {
        jobs[id] = nil
        index.forget(id)
        place(id)
        progress[id] = nil
        sparklines[id] = nil
    }

    /// A snapshot has every job that has not ended, and the newest of the others. Older ones that are known stay.
    private func becomeCurrent() {
        connection = .connected
        defer { onCurrent?() }
        guard let complete = snapshot else { return }
        snapshot = nil
        cached = nil
        for (id, job) in jobs where complete[id] == nil && !job.status.isFinal { forget(id) }
        for job in complete.values { replace(job) }
    }

    private func move(_ place: JobQueuePlace) {
        guard jobs[place.jobID]?.status == .pending else { return }
        jobs[place.jobID]?.queue = QueuePlace(position: place.position, waitsFor: place.waitsFor)
        self.place(place.jobID)
    }

    // MARK: More than the stream tells

    /// The next page of jobs, newest first.
    public func loadOlder() async throws {
        guard !isLoadingOlder, !isAtOldest else { return }
        isLoadingOlder = true
        defer { isLoadingOlder = false }
        let page = try await agent.jobs(JobQuery(limit: 200), cursor: cursor)
        for job in page.jobs { insert(job) }
        cursor = page.nextCursor
        isAtOldest = cursor == nil
        hasOlder = !isAtOldest
    }

    /// Loads the small curve of a job, once while it does not change.
    public func loadSparkline(of id: Job.ID) async {
        guard loading.insert(id).inserted else { return }
        defer { loading.remove(id) }
        guard let metrics = try? await agent.metrics(id), let first = metrics.series.first else { return }
        sparklines[id] = Sparkline.thin(first.points.map(\.value))
    }
}

/// A curve in the width of a table's cell.
public enum Sparkline {
    /// At most `count` values, evenly taken, with the first and the last.
    public static func thin(_ values: [Double], to count: Int = 40) -> [Double] {
        guard values.count > count, count > 1 else { return values }
        return (0..<count).map { values[$0 * (values.count - 1) / (count - 1)] }
    }
}
