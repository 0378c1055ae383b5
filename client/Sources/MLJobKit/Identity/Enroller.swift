import Foundation

/// Gets first certificates, and renews them. Keys are made in the vault and never leave it.
public struct Enroller: Sendable {
    public let vault: any IdentityVault

    public init(vault: any IdentityVault) { self.vault = vault }

    /// A host from an invitation: a new key, a certificate for it, and the authorities to trust.
    public func enrol(_ invitation: Invitation, name: String? = nil) async throws -> HostConfiguration {
        let pinned = try vault.transport(
            to: invitation.address, as: nil, trusting: .fingerprint(invitation.fingerprint))
        defer { pinned.invalidate() }
        let host = invitation.address.host() ?? "host"
        let label = "ML jobs on \(host)"
        let key = try vault.makeKey(label: label)
        let request = try CertificateRequest(key: key, commonName: host)
        let issued = try await Agent(transport: pinned).enrol(request, code: invitation.code)
        let (certificate, details, authorities) = try Self.check(issued, key)
        guard authorities.contains(where: { $0.sha256 == invitation.fingerprint }) else {
            throw EnrolmentError.otherAuthority
        }
        let identity = try vault.store(certificate: certificate, for: key, label: label)
        return HostConfiguration(
            name: name ?? host, address: invitation.address, user: details.user ?? "", identity: identity,
            certificate: certificate, authorities: authorities)
    }

    /// A host from a `.p12` and its address. `authorities` are further ones to trust, in PEM or DER, for a file that
    /// has none.
    public func importPKCS12(
        _ file: Data, password: String, address: URL, authorities more: Data? = nil, name: String? = nil
    ) async throws -> HostConfiguration {
        let host = address.host() ?? "host"
        let imported = try vault.importPKCS12(file, password: password, label: "ML jobs on \(host)")
        do {
            guard let details = CertificateDetails(imported.certificate) else {
                throw VaultError.damaged("the certificate cannot be read")
            }
            if details.notAfter < Date() { throw EnrolmentError.expired(details.notAfter) }
            let authorities = imported.authorities + Self.certificates(more)
            guard !authorities.isEmpty else { throw EnrolmentError.noAuthority }
            let configuration = HostConfiguration(
                name: name ?? host, address: address, user: details.user ?? "", identity: imported.identity,
                certificate: imported.certificate, authorities: authorities)
            try await attempt(configuration)
            return configuration
        } catch {
            try? vault.remove(imported.identity)
            throw error
        }
    }

    /// The same host under a new key and certificate, which was tried with a request. The old identity is still in the
    /// vault: remove it once the new configuration is saved.
    public func renew(_ configuration: HostConfiguration, over agent: Agent) async throws -> HostConfiguration {
        let label = "ML jobs on \(configuration.name)"
        let key = try vault.makeKey(label: label)
        let request = try CertificateRequest(key: key, commonName: configuration.user)
        let issued = try await agent.renewCertificate(request)
        let (certificate, details, authorities) = try Self.check(issued, key)
        var renewed = configuration
        renewed.identity = try vault.store(certificate: certificate, for: key, label: label)
        renewed.certificate = certificate
        renewed.authorities = authorities
        renewed.user = details.user ?? configuration.user
        do {
            try await attempt(renewed)
        } catch {
            try? vault.remove(renewed.identity)
            throw error
        }
        return renewed
    }

    /// Makes a request under a configuration. The host takes a first request as proof that a renewed certificate has
    /// arrived.
    private func attempt(_ configuration: HostConfiguration) async throws {
        let transport = try transport(for: configuration)
        defer { transport.invalidate() }
        _ = try await Agent(transport: transport).host()
    }

    public func transport(for configuration: HostConfiguration) throws -> any HTTPTransport {
        try vault.transport(
            to: configuration.address, as: configuration.identity, trusting: .authorities(configuration.authorities))
    }

    private static func check(
        _ issued: IssuedCertificate, _ key: any SigningKey
    ) throws -> (Data, CertificateDetails, [Data]) {
        let authorities = PEM.blocks(issued.caCertificates)
        guard let certificate = PEM.blocks(issued.certificate).first, let details = CertificateDetails(certificate),
            !authorities.isEmpty
        else { throw EnrolmentError.badAnswer("the answer has no certificate, or no authority") }
        guard details.publicPoint == (try key.publicPoint) else {
            throw EnrolmentError.badAnswer("the certificate is for another key")
        }
        return (certificate, details, authorities)
    }

    private static func certificates(_ file: Data?) -> [Data] {
        guard let file else { return [] }
        let blocks = PEM.blocks(String(decoding: file, as: UTF8.self))
        return blocks.isEmpty ? [file].filter { CertificateDetails($0) != nil } : blocks
    }
}

public enum EnrolmentError: Error, Sendable, Hashable {
    /// The `.p12` has no authority, and none was given.
    case noAuthority
    case expired(Date)
    /// The answer's authorities are not the one that the invitation names.
    case otherAuthority
    case badAnswer(String)
}
