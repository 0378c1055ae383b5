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

/// One host of a fleet: heard of lately or not, and how full it is.
public struct HostEntry: Codable, Hashable, Sendable, Identifiable {
    public var id: String { name }
    public let name: String
    public let reachable: Bool
    public let seenAt: Date
    public let draining: Bool
    public let forgotten: Bool?
    public let capacity: Resources
    public let inUse: Resources
    public let versions: Versions?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, reachable
        case seenAt = "seen_at"
        case draining, forgotten, capacity
        case inUse = "in_use"
        case versions
    }
}

/// The hosts of a fleet, by name.
public struct HostList: Codable, Hashable, Sendable {
    public let hosts: [HostEntry]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case hosts
    }
}

/// When the host runs no jobs: from one time to another, or until its operator resumes it.
public struct Drain: Codable, Hashable, Sendable {
    public let beginsAt: Date
    public let endsAt: Date?
    public let reason: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case beginsAt = "begins_at"
        case endsAt = "ends_at"
        case reason
    }
}

/// The host's capacity and its queue. Those of a fleet are sums over its hosts.
public struct HostInfo: Codable, Hashable, Sendable {
    public let versions: Versions
    public let capacity: Resources
    public let inUse: Resources
    public let waiting: Int
    public let running: Int
    public let users: [UserQueue]
    public let drain: Drain?
    public let hosts: [HostEntry]?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case versions, capacity
        case inUse = "in_use"
        case waiting, running, users, drain, hosts
    }
}
