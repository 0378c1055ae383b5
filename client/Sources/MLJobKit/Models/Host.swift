import Foundation

/// Of what runs the jobs; one that does not answer is absent.
public struct Versions: Codable, Hashable, Sendable {
    public let agent: String
    public let systemd: String?
    public let podman: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case agent, systemd, podman
    }
}

/// What jobs take of the host: places, and the sums of their limits.
public struct Resources: Codable, Hashable, Sendable {
    public let jobs: Int
    public let cpus: Double
    public let memoryBytes: Int

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobs, cpus
        case memoryBytes = "memory_bytes"
    }
}

/// A user's jobs that have not ended, and what they had of late, in seconds of the whole host.
public struct UserQueue: Codable, Hashable, Sendable, Identifiable {
    public var id: String { user }
    public let user: String
    public let waiting: Int
    public let running: Int
    public let recentUseSeconds: Double

    enum CodingKeys: String, CodingKey, CaseIterable {
        case user, waiting, running
        case recentUseSeconds = "recent_use_seconds"
    }
}

/// The host's capacity and its queue.
public struct HostInfo: Codable, Hashable, Sendable {
    public let versions: Versions
    public let capacity: Resources
    public let inUse: Resources
    public let waiting: Int
    public let running: Int
    public let users: [UserQueue]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case versions, capacity
        case inUse = "in_use"
        case waiting, running, users
    }
}
