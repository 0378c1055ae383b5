import Foundation

/// A secret without its value; without `user` it is for everybody's jobs.
public struct SecretEntry: Codable, Hashable, Sendable, Identifiable {
    public var id: String { "\(user ?? "")/\(name)" }
    public let name: String
    public let user: String?
    public let createdAt: Date
    public let updatedAt: Date
    /// How long ago the value was set.
    public let ageSeconds: Int
    /// Hosts of a fleet without this value, which run no job that needs it.
    public let missingOn: [String]?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, user
        case createdAt = "created_at"
        case updatedAt = "updated_at"
        case ageSeconds = "age_seconds"
        case missingOn = "missing_on"
    }
}

/// Secrets by name; for everybody's jobs before the user's own.
public struct SecretList: Codable, Sendable {
    public let secrets: [SecretEntry]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case secrets
    }
}

/// A secret that was just set.
public struct SecretChange: Codable, Hashable, Sendable {
    public let name: String
    public let user: String?
    public let createdAt: Date
    public let updatedAt: Date
    public let ageSeconds: Int
    /// Hosts of a fleet without this value, which run no job that needs it.
    public let missingOn: [String]?
    /// There was an earlier value.
    public let rotated: Bool
    /// Jobs that run, and keep what they began with.
    public let earlierValueIn: [String]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, user
        case createdAt = "created_at"
        case updatedAt = "updated_at"
        case ageSeconds = "age_seconds"
        case missingOn = "missing_on"
        case rotated
        case earlierValueIn = "earlier_value_in"
    }
}
