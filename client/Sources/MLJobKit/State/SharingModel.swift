import Foundation
import Observation

/// Who may read a job, a sweep or a model, and the form that changes it.
@MainActor @Observable
public final class SharingModel: Identifiable {
    /// A row of the form.
    public struct User: Identifiable, Hashable, Sendable {
        public let id = UUID()
        public var name: String
        fileprivate var refusals = Refusals()

        public init(name: String = "") { self.name = name }

        public var objection: String? { ownObjection ?? refusals.message(for: "user", value: name) }

        fileprivate var ownObjection: String? {
            name.isEmpty || name.wholeMatch(of: /[a-z][a-z0-9._-]{0,62}/) != nil
                ? nil : "must be a user's name: 1 to 63 of a-z, 0-9 and ._-, a letter first"
        }

        fileprivate mutating func refuse(_ message: String) { refusals.add("user", message, value: name) }
    }

    public nonisolated let id: SharedThing
    /// Nil until the first answer, and where the host does not say.
    public private(set) var readers: Readers?
    public private(set) var isLoaded = false
    /// Why it is not known who may read it.
    public private(set) var trouble: Trouble?
    // What is typed; an empty row is nobody.
    public var users: [User] = []
    public var everybody = false
    /// What the agent says of no row, by field.
    public private(set) var refused: [String: String] = [:]
    @ObservationIgnored private let agent: Agent
    @ObservationIgnored private let context: @MainActor () -> TroubleContext

    public static let mostUsers = 50

    public init(
        _ thing: SharedThing, agent: Agent, context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }
    ) {
        id = thing
        self.agent = agent
        self.context = context
    }

    public func load() async {
        do {
            readers = try await agent.readers(of: id)
            (isLoaded, trouble) = (true, nil)
        } catch {
            trouble = Trouble(error, context())
        }
    }

    /// Fills the form with who may read it now.
    public func begin() async {
        await load()
        users = (readers?.users ?? []).map { User(name: $0) }
        everybody = readers?.everybody ?? false
        refused = [:]
    }

    // MARK: The form

    /// Everything that is wrong, by field: `users`, `everybody`. Each row has its own.
    public var objections: [String: String] {
        given.count > Self.mostUsers ? refused.merging(["users": "must be \(Self.mostUsers) at most"]) { $1 } : refused
    }

    public var isValid: Bool { given.count <= Self.mostUsers && users.allSatisfy { $0.ownObjection == nil } }

    /// Whether saving would change anything.
    public var isChanged: Bool {
        Set(given.map(\.name)) != Set(readers?.users ?? []) || everybody != (readers?.everybody ?? false)
    }

    private var given: [User] { users.filter { !$0.name.isEmpty } }

    public var request: ReadersRequest { ReadersRequest(users: given.map(\.name), everybody: everybody) }

    /// Lets those read it who are in the form, and nobody else. Raises `Trouble`, whose fields are shown in the form.
    public func save() async throws {
        refused = [:]
        let (sent, request) = (given.map(\.id), request)
        do {
            readers = try await agent.setReaders(request, of: id)
            (isLoaded, trouble) = (true, nil)
        } catch {
            guard let trouble = Trouble(error, context()) else { throw error }
            for problem in trouble.fields { show(problem, sent) }
            throw trouble
        }
    }

    /// `users.2` is the third of those that were sent.
    private func show(_ problem: FieldProblem, _ sent: [User.ID]) {
        let parts = problem.field.split(separator: ".").map(String.init)
        if parts.first == "users", let number = parts.dropFirst().first.flatMap({ Int($0) }),
            sent.indices.contains(number), let at = users.firstIndex(where: { $0.id == sent[number] })
        {
            users[at].refuse(problem.message)
        } else {
            refused[problem.field] = problem.message
        }
    }
}

extension Readers {
    /// `bob and dora`, `everybody`; nil where it is nobody.
    public var words: String? {
        if everybody { return "everybody" }
        return users.isEmpty ? nil : users.formatted(.list(type: .and).locale(Locale(identifier: "en")))
    }
}
