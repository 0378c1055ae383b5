import Foundation

/// One host that the app knows, with its own authority and identity.
public struct HostConfiguration: Codable, Hashable, Sendable, Identifiable {
    public let id: UUID
    /// What the app calls it.
    public var name: String
    public var address: URL
    public var user: String
    /// The vault's name for the key and certificate.
    public var identity: String
    /// The client's certificate in DER.
    public var certificate: Data
    /// Authorities to trust, in DER: two while the host's is being replaced.
    public var authorities: [Data]

    public init(
        id: UUID = UUID(), name: String, address: URL, user: String, identity: String, certificate: Data,
        authorities: [Data]
    ) {
        self.id = id
        self.name = name
        self.address = address
        self.user = user
        self.identity = identity
        self.certificate = certificate
        self.authorities = authorities
    }

    public var details: CertificateDetails? { CertificateDetails(certificate) }
}

/// The hosts, in a file of the app's container. Nothing in it is secret: keys are in the vault.
public struct HostsFile: Sendable {
    private struct Content: Codable {
        var version = 1
        var hosts: [HostConfiguration]
    }

    public let url: URL

    public init(url: URL) { self.url = url }

    /// None where there is no file yet. Raises what reading or decoding does.
    public func load() throws -> [HostConfiguration] {
        guard FileManager.default.fileExists(atPath: url.path) else { return [] }
        return try JSONDecoder().decode(Content.self, from: Data(contentsOf: url)).hosts
    }

    /// Replaces the file as a whole.
    public func save(_ hosts: [HostConfiguration]) throws {
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(Content(hosts: hosts)).write(to: url, options: .atomic)
    }
}
