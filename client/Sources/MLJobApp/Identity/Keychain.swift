import Foundation
import MLJobKit
import Security

/// The calls of the keychain that the vault needs, with errors instead of status codes.
///
/// The login keychain holds them: identities in the Secure Enclave, and the data protection keychain, need an
/// entitlement that only a provisioning profile grants (else -34018).
enum Keychain {
    static func newKey(label: String, tag: String) throws -> SecKey {
        let attributes: [String: Any] = [
            kSecAttrKeyType as String: kSecAttrKeyTypeECSECPrimeRandom,
            kSecAttrKeySizeInBits as String: 256,
            kSecPrivateKeyAttrs as String: [
                kSecAttrIsPermanent as String: true,
                kSecAttrIsExtractable as String: false,
                kSecAttrApplicationTag as String: Data(tag.utf8),
                kSecAttrLabel as String: label,
            ] as [String: Any],
        ]
        var error: Unmanaged<CFError>?
        guard let key = SecKeyCreateRandomKey(attributes as CFDictionary, &error) else { throw refused(error) }
        return key
    }

    static func add(_ certificate: SecCertificate, label: String) throws {
        let attributes: [String: Any] = [
            kSecClass as String: kSecClassCertificate,
            kSecValueRef as String: certificate,
            kSecAttrLabel as String: label,
        ]
        let status = SecItemAdd(attributes as CFDictionary, nil)
        guard status == errSecSuccess || status == errSecDuplicateItem else { throw refused(status) }
    }

    /// The identity whose certificate has that SHA-256. Looking does not use a key, and so asks for nothing.
    static func identity(_ fingerprint: String) throws -> SecIdentity? {
        let query: [String: Any] = [
            kSecClass as String: kSecClassIdentity,
            kSecMatchLimit as String: kSecMatchLimitAll,
            kSecReturnRef as String: true,
        ]
        var found: CFTypeRef?
        let status = SecItemCopyMatching(query as CFDictionary, &found)
        if status == errSecItemNotFound { return nil }
        guard status == errSecSuccess else { throw refused(status) }
        return identities(found).first { (try? certificate(of: $0))?.sha256 == fingerprint }
    }

    /// What an import or a query has found, as far as it is an identity.
    static func identities(_ found: Any?) -> [SecIdentity] {
        (found as? [Any] ?? []).compactMap(identity(in:))
    }

    /// Core Foundation's types cannot be cast conditionally: their number is compared.
    static func identity(in value: Any) -> SecIdentity? {
        let value = value as CFTypeRef
        guard CFGetTypeID(value) == SecIdentityGetTypeID() else { return nil }
        return (value as! SecIdentity)
    }

    /// An identity's certificate, in DER.
    static func certificate(of identity: SecIdentity) throws -> Data {
        var certificate: SecCertificate?
        let status = SecIdentityCopyCertificate(identity, &certificate)
        guard status == errSecSuccess, let certificate else { throw refused(status) }
        return SecCertificateCopyData(certificate) as Data
    }

    /// Removes the certificate and its key. What is not there is removed already.
    static func delete(_ identity: SecIdentity) throws {
        var certificate: SecCertificate?
        var key: SecKey?
        _ = SecIdentityCopyCertificate(identity, &certificate)
        _ = SecIdentityCopyPrivateKey(identity, &key)
        if let certificate { try delete(kSecClassCertificate as String, certificate) }
        if let key { try delete(kSecClassKey as String, key) }
    }

    private static func delete(_ itemClass: String, _ item: AnyObject) throws {
        let query: [String: Any] = [kSecClass as String: itemClass, kSecValueRef as String: item]
        let status = SecItemDelete(query as CFDictionary)
        guard status == errSecSuccess || status == errSecItemNotFound else { throw refused(status) }
    }

    static func refused(_ status: OSStatus) -> VaultError {
        .refused(SecCopyErrorMessageString(status, nil) as String? ?? "status \(status)")
    }

    static func refused(_ error: Unmanaged<CFError>?) -> VaultError {
        guard let error = error?.takeRetainedValue() else { return .refused("no reason was given") }
        return .refused((error as any Error).localizedDescription)
    }
}
