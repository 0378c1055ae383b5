import Foundation

/// Who may read something besides its owner, operators and administrators.
public struct Readers: Codable, Hashable, Sendable {
    public let users: [String]
    public let everybody: Bool

    enum CodingKeys: String, CodingKey, CaseIterable {
        case users, everybody
    }
}

/// The same in a request, which replaces all that was said before. Without a member: nobody.
public struct ReadersRequest: Codable, Hashable, Sendable {
    public var users: [String]?
    public var everybody: Bool?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case users, everybody
    }

    public init(users: [String]? = nil, everybody: Bool? = nil) {
        self.users = users
        self.everybody = everybody
    }
}

/// The artifact of a job that has completed, to which an alias is to point.
public struct AliasTarget: Codable, Hashable, Sendable {
    public var jobID: String
    public var path: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case path
    }

    public init(jobID: String, path: String) {
        self.jobID = jobID
        self.path = path
    }
}

/// What an alias has pointed at since it was moved. No other move has its version.
public struct ModelAlias: Codable, Hashable, Sendable, Identifiable {
    public var id: String { version }
    public let alias: String
    /// Counts the moves of the alias from 1.
    public let number: Int
    public let version: String
    public let jobID: String
    public let path: String
    public let size: Int
    public let sha256: String
    public let mediaType: String
    public let movedBy: String
    public let movedAt: Date

    enum CodingKeys: String, CodingKey, CaseIterable {
        case alias, number, version
        case jobID = "job_id"
        case path, size, sha256
        case mediaType = "media_type"
        case movedBy = "moved_by"
        case movedAt = "moved_at"
    }
}

/// A model by name, whose owner made its first alias.
public struct NamedModel: Codable, Hashable, Sendable, Identifiable {
    public var id: String { model }
    public let model: String
    public let owner: String
    public let readers: Readers
    public let aliases: [ModelAlias]
    public let createdAt: Date
    public let revision: Int

    enum CodingKeys: String, CodingKey, CaseIterable {
        case model, owner, readers, aliases
        case createdAt = "created_at"
        case revision
    }
}

/// A page of `GET /models`, newest first; the last one has no cursor.
public struct NamedModelPage: Codable, Sendable {
    public let models: [NamedModel]
    public let nextCursor: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case models
        case nextCursor = "next_cursor"
    }
}

/// The newest moves of an alias, the newest first.
public struct AliasHistory: Codable, Hashable, Sendable {
    public let moves: [ModelAlias]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case moves
    }
}
