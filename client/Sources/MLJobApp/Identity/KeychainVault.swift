import Foundation
import MLJobKit
import Security

/// Keys and certificates in the login keychain. An identity's name is the SHA-256 of its certificate.
///
/// The app makes or imports each key itself: what another program has put there makes macOS ask for the keychain's
/// password.
struct KeychainVault: IdentityVault {
    func makeKey(label: String) throws -> any SigningKey {
        KeychainKey(key: try Keychain.newKey(label: label, tag: "ml-job.\(UUID().uuidString)"))
    }

    func store(certificate: Data, for key: any SigningKey, label: String) throws -> String {
        guard let item = SecCertificateCreateWithData(nil, certificate as CFData) else {
            throw VaultError.damaged("the certificate cannot be read")
        }
        try Keychain.add(item, label: label)
        var identity: SecIdentity?
        let status = SecIdentityCreateWithCertificate(nil, item, &identity)
        guard status == errSecSuccess, identity != nil else {
            throw VaultError.noIdentity("the keychain has no key for this certificate")
        }
        return certificate.sha256
    }

    func importPKCS12(_ file: Data, password: String, label: String) throws -> ImportedIdentity {
        let options: [String: Any] = [kSecImportExportPassphrase as String: password]
        var items: CFArray?
        let status = SecPKCS12Import(file as CFData, options as CFDictionary, &items)
        // An identity that is in the keychain already is returned all the same.
        guard status == errSecSuccess || status == errSecDuplicateItem else { throw Self.meaning(of: status) }
        let entries = items as? [[String: Any]] ?? []
        guard let entry = entries.first(where: { $0[kSecImportItemIdentity as String] != nil }),
            let identity = entry[kSecImportItemIdentity as String].flatMap(Keychain.identity(in:))
        else { throw VaultError.noIdentity("the file has no key with a certificate") }
        let certificate = try Keychain.certificate(of: identity)
        let chain = Keychain.certificates(entry[kSecImportItemCertChain as String])
        return ImportedIdentity(
            identity: certificate.sha256, certificate: certificate, authorities: chain.filter { $0 != certificate })
    }

    func remove(_ identity: String) throws {
        if let found = try Keychain.identity(identity) { try Keychain.delete(found) }
    }

    func transport(to address: URL, as identity: String?, trusting trust: ServerTrust) throws -> any HTTPTransport {
        let shown = try identity.map { name in
            guard let found = try Keychain.identity(name) else {
                throw VaultError.noIdentity("the keychain has no identity with the fingerprint \(name.prefix(16))…")
            }
            return found
        }
        let authenticator = Authenticator(identity: shown, trust: trust)
        return URLSessionTransport(address: address) { try authenticator.answer($0) }
    }

    private static func meaning(of status: OSStatus) -> VaultError {
        switch status {
        case errSecAuthFailed, errSecPkcs12VerifyFailure: .wrongPassword
        case errSecDecode: .damaged("it is not a .p12 file")
        default: Keychain.refused(status)
        }
    }
}

extension Keychain {
    /// A chain of certificates, in DER.
    static func certificates(_ chain: Any?) -> [Data] {
        (chain as? [Any] ?? []).compactMap { value in
            let value = value as CFTypeRef
            guard CFGetTypeID(value) == SecCertificateGetTypeID() else { return nil }
            return SecCertificateCopyData(value as! SecCertificate) as Data
        }
    }
}
