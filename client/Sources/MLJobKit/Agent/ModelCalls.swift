import Foundation

extension Agent {
    /// A page of the models that one may read, newest first.
    public func models(cursor: String? = nil, limit: Int = 200) async throws -> NamedModelPage {
        try await call("GET", "/models\(URLPart.query(["cursor": cursor, "limit": String(limit)]))")
    }

    /// The newest moves of an alias, the newest first.
    public func history(of alias: String, of model: NamedModel.ID) async throws -> [ModelAlias] {
        let history: AliasHistory = try await call("GET", "\(Self.path(model, alias))/history")
        return history.moves
    }

    /// Points an alias at an artifact: from `version` alone, or only where there is no such alias yet for nil. Where
    /// somebody else was faster, `Problem` with the code `precondition-failed`.
    public func setAlias(
        _ alias: String, of model: NamedModel.ID, to target: AliasTarget, from version: String?
    ) async throws -> ModelAlias {
        let condition = version.map { ["If-Match": "\"\($0)\""] } ?? ["If-None-Match": "*"]
        let body = try JSONEncoder.ofAgent().encode(target)
        return try await call("PUT", Self.path(model, alias), body: body, headers: condition)
    }

    private static func path(_ model: NamedModel.ID, _ alias: String) -> String {
        "/models/\(URLPart.encode(model))/aliases/\(URLPart.encode(alias))"
    }
}
