import Foundation

/// What its owner may let others read.
public enum SharedThing: Hashable, Sendable, Identifiable {
    case job(Job.ID)
    case sweep(Sweep.ID)
    case model(NamedModel.ID)

    public var id: SharedThing { self }

    fileprivate var path: String {
        switch self {
        case .job(let id): "/jobs/\(URLPart.encode(id))"
        case .sweep(let id): "/sweeps/\(URLPart.encode(id))"
        case .model(let name): "/models/\(URLPart.encode(name))"
        }
    }
}

extension Agent {
    /// Who may read it besides its owner, operators and administrators; nil where the agent does not say.
    public func readers(of thing: SharedThing) async throws -> Readers? { try await ask("GET", thing, thing.path) }

    /// Lets these read it, and nobody else. Answers with who may read it now.
    public func setReaders(_ readers: ReadersRequest, of thing: SharedThing) async throws -> Readers? {
        try await ask("PUT", thing, "\(thing.path)/readers", try JSONEncoder.ofAgent().encode(readers))
    }

    private func ask(
        _ method: String, _ thing: SharedThing, _ target: String, _ body: Data? = nil
    ) async throws -> Readers? {
        switch thing {
        case .job: try await call(method, target, body: body, as: Job.self).readers
        case .sweep: try await call(method, target, body: body, as: Sweep.self).readers
        case .model: try await call(method, target, body: body, as: NamedModel.self).readers
        }
    }
}
