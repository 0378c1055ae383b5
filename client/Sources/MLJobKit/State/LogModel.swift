import Foundation
import Observation

/// A job's log as its view shows it: rows in bounded memory, searched, filtered and followed.
@MainActor @Observable
public final class LogModel {
    /// Which rows are shown.
    public struct Filter: Sendable, Hashable {
        /// What systemd and Podman say about the job.
        public var showsSystem = true
        /// `::progress` and `::metric` lines, which the charts show.
        public var showsMarks = false
        /// Only rows with a match of the search.
        public var onlyMatches = false

        public init() {}
    }

    /// Changes with every batch of rows, search result and filter: a view reads it to be drawn anew.
    public private(set) var version = 0
    public private(set) var connection = ConnectionState.idle
    /// The log is whole: the job has ended and nothing follows.
    public private(set) var isComplete = false
    public private(set) var gaps = 0
    /// Whether the view keeps to the end as rows arrive. A view sets it to false when its user scrolls up.
    public var isFollowing = true
    public var filter = Filter() { didSet { if filter != oldValue { refilter() } } }
    public var search = "" { didSet { if search != oldValue { searchAll() } } }
    /// Ids of the rows with a match, in order.
    public private(set) var matches: [Int] = []
    public private(set) var isSearching = false
    /// The match that the view shows, an index into `matches`.
    public private(set) var currentMatch: Int?

    @ObservationIgnored private(set) var store: LogStore
    /// Ids of the rows that pass the filter; nil where all do. Half the size of Int: there may be a million.
    @ObservationIgnored private var shown: [Int32]? = []
    @ObservationIgnored private var needle: LogSearch?
    @ObservationIgnored private var searching: Task<Void, Never>?
    @ObservationIgnored private let agent: Agent
    @ObservationIgnored public let job: Job.ID
    @ObservationIgnored private let backoff: Backoff
    @ObservationIgnored private let context: @MainActor () -> TroubleContext
    @ObservationIgnored private let buffer = LogBuffer()
    @ObservationIgnored private var lastID: String?
    @ObservationIgnored private var isRunning = false

    public init(
        agent: Agent, job: Job.ID, limit: Int = 112 << 20, backoff: Backoff = Backoff(),
        context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }
    ) {
        self.agent = agent
        self.job = job
        self.backoff = backoff
        self.context = context
        store = LogStore(limit: limit)
    }

    // MARK: Rows

    /// How many rows are shown.
    public var count: Int {
        _ = version
        return shown?.count ?? store.rows.count
    }

    /// The row at a place of the view, from 0.
    public func row(at place: Int) -> LogRow { store[shown.map { Int($0[place]) } ?? store.trimmed + place] }

    /// Where a row is shown; nil where the filter hides it or it is not kept any more.
    public func place(of id: Int) -> Int? {
        guard let shown else { return store.rows.contains(id) ? id - store.trimmed : nil }
        let at = shown.partitioningIndex { Int($0) >= id }
        return at < shown.count && Int(shown[at]) == id ? at : nil
    }

    /// Rows of the beginning that are not kept any more.
    public var trimmed: Int {
        _ = version
        return store.trimmed
    }

    /// The texts of some places, for the pasteboard.
    public func text(of places: some Sequence<Int>) -> String {
        places.filter { $0 < count }.map { row(at: $0).text }.joined(separator: "\n")
    }

    // MARK: Following

    /// Follows the log until the task is cancelled, the job has ended, or the host refuses for good. A second call goes
    /// on where the first one was.
    public func run() async {
        // A run that was cancelled takes a moment to end, and two at once would double lines.
        while isRunning { guard (try? await Task.sleep(for: .milliseconds(5))) != nil else { return } }
        guard !isComplete else { return }
        isRunning = true
        defer { isRunning = false }
        connection = .connecting
        do {
            try await pump()
            flush()
        } catch {
            flush()
            guard let trouble = Trouble(error, context()) else {
                connection = .idle
                return
            }
            connection = .refused(trouble)
        }
    }

    /// Reads the stream off the main actor.
    private nonisolated func pump() async throws {
        var stream = agent.log(job, LogQuery(since: await lastID), backoff: backoff).makeAsyncIterator()
        do {
            while let item = try await stream.next() {
                switch item {
                case .line(let line): await add(.line(line))
                case .gap(let gap): await add(.gap(gap))
                default: await take(item)
                }
            }
        } catch {
            await remember(stream.lastID)
            throw error
        }
    }

    private nonisolated func add(_ row: LogRow.Content) async {
        let (isFirst, isFull) = buffer.append(row)
        if isFull {
            await flush()
        } else if isFirst {
            Task { @MainActor in
                try? await Task.sleep(for: .milliseconds(50))
                flush()
            }
        }
    }

    private func remember(_ id: String?) { lastID = id }

    private func take(_ item: LogItem) {
        flush()
        switch item {
        case .connected, .state, .waiting: connection = .connected
        case .interrupted(let error, let delay):
            guard let trouble = Trouble(error, context()) else { return }
            connection = .offline(trouble, retryAt: Date(timeIntervalSinceNow: delay))
        case .end:
            connection = .connected
            isComplete = true
        case .line, .gap: break
        }
    }

    /// Takes what has arrived.
    private func flush() { append(buffer.take()) }

    /// Adds a batch of rows.
    public func append(_ rows: [LogRow.Content]) {
        guard !rows.isEmpty else { return }
        let first = store.end
        for row in rows {
            switch row {
            case .line(let line): store.append(line)
            case .gap(let gap):
                store.append(gap)
                gaps += 1
            }
        }
        extendSearch(from: first)
        extendFilter(from: first)
        version += 1
    }

    // MARK: Search

    private func searchAll() {
        searching?.cancel()
        (matches, currentMatch, needle) = ([], nil, LogSearch(search))
        guard let needle else {
            isSearching = false
            return refilter()
        }
        isSearching = true
        let snapshot = store
        searching = Task {
            let found = await Self.find(needle, in: snapshot)
            guard !Task.isCancelled, needle == self.needle else { return }
            // Rows that came meanwhile were searched as they came.
            let since = matches[matches.partitioningIndex { $0 >= snapshot.end }...]
            matches = since.isEmpty ? found : found + since
            currentMatch = matches.isEmpty ? nil : currentMatch ?? matches.count - 1
            isSearching = false
            refilter()
        }
    }

    private nonisolated static func find(_ needle: LogSearch, in store: LogStore) async -> [Int] {
        needle.rows(in: store, isCancelled: { Task.isCancelled })
    }

    private func extendSearch(from first: Int) {
        guard let needle else { return }
        let kept = store.trimmed
        if let oldest = matches.first, oldest < kept { matches.removeAll { $0 < kept } }
        matches += needle.rows(in: store, from: first)
    }

    /// The search that is under way has ended.
    public func searched() async { await searching?.value }

    /// Goes to the match behind or before the current one, round the end, and returns its row's id.
    @discardableResult
    public func goToMatch(forward: Bool) -> Int? {
        guard !matches.isEmpty else { return nil }
        let step = forward ? 1 : -1
        let next = currentMatch.map { ($0 + step + matches.count) % matches.count } ?? (forward ? 0 : matches.count - 1)
        currentMatch = next
        isFollowing = false
        return matches[next]
    }

    // MARK: Filter

    private var isFiltering: Bool { !filter.showsSystem || !filter.showsMarks || filter.onlyMatches }

    private func refilter() {
        shown = isFiltering ? places(from: store.trimmed) : nil
        version += 1
    }

    private func extendFilter(from first: Int) {
        guard shown != nil else { return }
        let kept = store.trimmed
        if let oldest = shown?.first, Int(oldest) < kept { shown?.removeAll { Int($0) < kept } }
        shown? += places(from: max(first, kept))
    }

    private func places(from first: Int) -> [Int32] {
        let hidden = hiddenFlags
        let wanted = store.ids(from: first) { $0.isDisjoint(with: hidden) || $0.contains(.gap) }
        guard filter.onlyMatches, needle != nil else { return wanted }
        let found = Set(matches[matches.partitioningIndex { $0 >= first }...])
        return wanted.filter { found.contains(Int($0)) }
    }

    private var hiddenFlags: LogBlock.Flags {
        var flags: LogBlock.Flags = []
        if !filter.showsSystem { flags.insert(.system) }
        if !filter.showsMarks { flags.insert(.mark) }
        return flags
    }

    // MARK: Saving

    /// Writes the job's whole output so far to a file, byte for byte, also what is not kept here.
    public func save(to file: URL) async throws {
        do {
            try await agent.saveLog(of: job, to: file)
        } catch {
            throw Trouble(error, context()) ?? error
        }
    }
}

extension RandomAccessCollection where Index == Int {
    /// The first index for which `isBehind` holds, in a collection that is sorted so.
    func partitioningIndex(where isBehind: (Element) -> Bool) -> Int {
        var (low, high) = (startIndex, endIndex)
        while low < high {
            let middle = (low + high) / 2
            if isBehind(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
