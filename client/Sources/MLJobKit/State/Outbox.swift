import Foundation
import Observation

/// Submissions on their way: kept in a file under their idempotency keys until the host has answered, so that a lost
/// connection, a quit or a crash neither loses nor doubles a job.
@MainActor @Observable
public final class Outbox {
    public struct Entry: Codable, Identifiable, Hashable, Sendable {
        public enum Body: Codable, Hashable, Sendable {
            case submit(JobRequest)
            case rerun(Job.ID, RerunRequest)
            case sweep(SweepRequest)
            case rerunSweep(Sweep.ID, SweepRerun)
        }

        /// The idempotency key.
        public let id: String
        public let body: Body
        public let createdAt: Date
        /// Why it waits; not kept in the file.
        public var trouble: Trouble?
        public var isSending = false

        enum CodingKeys: String, CodingKey {
            case id, body, createdAt
        }

        public init(_ body: Body, id: String = UUID().uuidString, createdAt: Date = Date()) {
            self.id = id
            self.body = body
            self.createdAt = createdAt
        }

        public init(from decoder: any Decoder) throws {
            let members = try decoder.container(keyedBy: CodingKeys.self)
            id = try members.decode(String.self, forKey: .id)
            body = try members.decode(Body.self, forKey: .body)
            createdAt = try members.decode(Date.self, forKey: .createdAt)
        }

        public var title: String {
            switch body {
            case .submit(let request): request.name ?? request.scriptName
            case .rerun(let id, _), .rerunSweep(let id, _): "rerun of \(id.prefix(8))"
            case .sweep(let request): request.job.name ?? request.job.scriptName
            }
        }
    }

    /// What the host made of a submission.
    public enum Accepted: Identifiable, Hashable, Sendable {
        case job(Job)
        case sweep(Sweep)

        public var job: Job? { if case .job(let job) = self { job } else { nil } }
        public var sweep: Sweep? { if case .sweep(let sweep) = self { sweep } else { nil } }
        public var id: String { job?.id ?? sweep?.id ?? "" }
    }

    /// Oldest first.
    public private(set) var entries: [Entry] = []

    /// Called with what the host has accepted.
    @ObservationIgnored public var onAccepted: ((Entry, Accepted) -> Void)?
    @ObservationIgnored private let agent: Agent
    @ObservationIgnored private let file: URL
    @ObservationIgnored private let context: @MainActor () -> TroubleContext
    @ObservationIgnored private var isRunning = false

    /// The host remembers a key for a day at least; an older entry is not sent by itself.
    static let oldest: TimeInterval = 20 * 3600

    public init(
        agent: Agent, file: URL, context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }
    ) {
        self.agent = agent
        self.file = file
        self.context = context
        entries = (try? JSONDecoder().decode([Entry].self, from: Data(contentsOf: file))) ?? []
    }

    /// Writes the submission to the file and sends it. Returns the job or sweep; nil where it waits for the connection,
    /// and `flush` sends it later. Raises the host's refusal, and then keeps nothing, or `DownloadError` where the file
    /// cannot be written.
    public func send(_ body: Entry.Body) async throws -> Accepted? {
        let entry = Entry(body)
        entries.append(entry)
        do {
            try save()
        } catch {
            entries.removeAll { $0.id == entry.id }
            throw Trouble(DownloadError.writing(file, error)) ?? error
        }
        return try await attempt(entry.id)
    }

    /// Sends what waits, oldest first. To be called whenever the host is connected.
    public func flush() async {
        guard !isRunning else { return }
        isRunning = true
        defer { isRunning = false }
        for entry in entries where !entry.isSending && !(entry.trouble.map { !$0.mayPass } ?? false) {
            guard Date().timeIntervalSince(entry.createdAt) < Self.oldest else {
                set(entry.id, trouble: Self.stale)
                continue
            }
            // The refusal stays with its entry, for whoever sent it is not waiting any more.
            _ = try? await attempt(entry.id, keepsRefused: true)
        }
    }

    private static let stale = Trouble(
        .connectionLost, "This submission is a day old.",
        advice: "It was not sent by itself. Look whether the job exists, and submit or discard it.")

    /// Tries an entry again that was refused or is old.
    public func retry(_ id: Entry.ID) async { _ = try? await attempt(id, keepsRefused: true) }

    /// Gives an entry up. A request that is under way may still be accepted.
    public func discard(_ id: Entry.ID) {
        entries.removeAll { $0.id == id }
        try? save()
    }

    private func attempt(_ id: Entry.ID, keepsRefused: Bool = false) async throws -> Accepted? {
        guard let entry = entries.first(where: { $0.id == id }) else { return nil }
        set(id, isSending: true)
        do {
            let accepted = try await request(entry)
            discard(id)
            onAccepted?(entry, accepted)
            return accepted
        } catch {
            let trouble = Trouble(error, context())
            set(id, trouble: trouble, isSending: false)
            guard let trouble, !trouble.mayPass else { return nil }
            if !keepsRefused { discard(id) }
            throw trouble
        }
    }

    private func request(_ entry: Entry) async throws -> Accepted {
        switch entry.body {
        case .submit(let request): .job(try await agent.submit(request, key: entry.id))
        case .rerun(let job, let changes): .job(try await agent.rerun(job, changes, key: entry.id))
        case .sweep(let request): .sweep(try await agent.submit(request, key: entry.id))
        case .rerunSweep(let sweep, let changes): .sweep(try await agent.rerun(sweep, changes, key: entry.id))
        }
    }

    private func set(_ id: Entry.ID, trouble: Trouble? = nil, isSending: Bool = false) {
        guard let at = entries.firstIndex(where: { $0.id == id }) else { return }
        entries[at].trouble = trouble
        entries[at].isSending = isSending
    }

    private func save() throws {
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try JSONEncoder().encode(entries).write(to: file, options: .atomic)
    }
}
