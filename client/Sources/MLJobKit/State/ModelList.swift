import Foundation
import Observation

/// The models that one may read, with the histories of their aliases.
@MainActor @Observable
public final class ModelList {
    /// An alias of one of the models.
    public struct AliasAddress: Hashable, Sendable, Identifiable {
        public var id: AliasAddress { self }
        public let model: NamedModel.ID
        public let alias: String

        public init(model: NamedModel.ID, alias: String) {
            self.model = model
            self.alias = alias
        }
    }

    /// By name.
    public private(set) var models: [NamedModel] = []
    /// The newest move first.
    public private(set) var histories: [AliasAddress: [ModelAlias]] = [:]
    public private(set) var isLoaded = false
    public private(set) var trouble: Trouble?
    @ObservationIgnored private let agent: Agent
    @ObservationIgnored private let context: @MainActor () -> TroubleContext

    public init(agent: Agent, context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }) {
        self.agent = agent
        self.context = context
    }

    /// Asks for all models, page by page.
    public func load() async {
        do {
            var (found, cursor): ([NamedModel], String?) = ([], nil)
            repeat {
                let page = try await agent.models(cursor: cursor)
                found += page.models
                cursor = page.nextCursor
            } while cursor != nil
            models = found.sorted { $0.model.localizedStandardCompare($1.model) == .orderedAscending }
            (isLoaded, trouble) = (true, nil)
        } catch {
            trouble = Trouble(error, context())
        }
    }

    public func loadHistory(of address: AliasAddress) async {
        do {
            histories[address] = try await agent.history(of: address.alias, of: address.model)
            trouble = nil
        } catch {
            trouble = Trouble(error, context())
        }
    }

    /// Points an alias at an artifact. It moves from what is shown here alone: where somebody else was faster, the list
    /// is loaded anew, and `Trouble` is raised.
    public func move(_ address: AliasAddress, to target: AliasTarget) async throws {
        do {
            let shown = alias(at: address)?.version
            _ = try await agent.setAlias(address.alias, of: address.model, to: target, from: shown)
        } catch {
            await load()
            throw Trouble(error, context()) ?? error
        }
        await load()
        if histories[address] != nil { await loadHistory(of: address) }
    }

    /// What an alias points at, as it is shown.
    public func alias(at address: AliasAddress) -> ModelAlias? {
        models.first { $0.id == address.model }?.aliases.first { $0.alias == address.alias }
    }
}

/// The form that points an alias at an artifact of a job.
public struct AliasForm: Hashable, Sendable {
    public var model = ""
    public var alias = "champion"

    public init(model: String = "") { self.model = model }

    /// What is wrong, by field.
    public var objections: [String: String] {
        var found: [String: String] = [:]
        for (field, name) in [("model", model), ("alias", alias)] { found[field] = Self.objection(to: name) }
        return found
    }

    static func objection(to name: String) -> String? {
        name.wholeMatch(of: /[a-z0-9][a-z0-9._-]{0,62}/) == nil
            ? "must be 1 to 63 of a-z, 0-9 and ._-, a letter or a digit first" : nil
    }

    public var address: ModelList.AliasAddress { ModelList.AliasAddress(model: model, alias: alias) }
}
