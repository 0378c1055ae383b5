import Foundation
import MLJobKit
import Security

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// Answers TLS challenges: shows the identity, and trusts the host's own authorities and no other.
///
/// Unchecked, for Core Foundation's objects: these are immutable.
struct Authenticator: @unchecked Sendable {
    typealias Answer = (URLSession.AuthChallengeDisposition, URLCredential?)

    let identity: SecIdentity?
    let trust: ServerTrust

    /// Throws `TransportError` where the server is not to be trusted or does not want the identity.
    func answer(_ challenge: URLAuthenticationChallenge) throws -> Answer {
        let space = challenge.protectionSpace
        switch space.authenticationMethod {
        case NSURLAuthenticationMethodClientCertificate:
            return try show(challenge.previousFailureCount)
        case NSURLAuthenticationMethodServerTrust:
            guard let server = space.serverTrust else {
                throw TransportError.serverUntrusted(.authority, "the server showed no certificate")
            }
            try judge(server)
            return (.useCredential, URLCredential(trust: server))
        default:
            // The host asks for nothing else; a proxy may.
            return (.performDefaultHandling, nil)
        }
    }

    private func show(_ failures: Int) throws -> Answer {
        guard let identity else { return (.performDefaultHandling, nil) }
        // The same identity again would be refused again, without end.
        guard failures == 0 else { throw TransportError.identityRefused("the host did not accept the certificate") }
        return (.useCredential, URLCredential(identity: identity, certificates: nil, persistence: .none))
    }

    private func judge(_ server: SecTrust) throws {
        let anchors = try self.anchors(for: server).compactMap { SecCertificateCreateWithData(nil, $0 as CFData) }
        guard !anchors.isEmpty, SecTrustSetAnchorCertificates(server, anchors as CFArray) == errSecSuccess,
            SecTrustSetAnchorCertificatesOnly(server, true) == errSecSuccess
        else { throw TransportError.serverUntrusted(.authority, "the host's authority cannot be read") }
        var error: CFError?
        // The challenge's trust checks the name that was asked for, too.
        guard SecTrustEvaluateWithError(server, &error) else {
            throw TransportError.serverUntrusted(Distrust(error), error.map { "\($0)" } ?? "no reason was given")
        }
    }

    private func anchors(for server: SecTrust) throws -> [Data] {
        switch trust {
        case .authorities(let authorities): return authorities
        case .fingerprint(let fingerprint):
            let chain = Keychain.certificates(SecTrustCopyCertificateChain(server))
            let named = chain.filter { $0.sha256 == fingerprint }
            guard !named.isEmpty else {
                throw TransportError.serverUntrusted(
                    .authority, "the server's authority is not the one that the invitation names")
            }
            return named
        }
    }
}

extension Distrust {
    /// What the system's judgement means (SecBase.h).
    init(_ error: CFError?) {
        let code = error.map { CFErrorGetCode($0) } ?? 0
        switch OSStatus(truncatingIfNeeded: code) {
        case errSecHostNameMismatch: self = .name
        case errSecCertificateExpired: self = .expired
        case errSecCertificateNotValidYet: self = .notYetValid
        default: self = .authority
        }
    }
}
