import Foundation

/// A private key on P-256 that only signs.
public protocol SigningKey: Sendable {
    /// The public key as an uncompressed point: 0x04, X and Y, 65 bytes.
    var publicPoint: Data { get throws }

    /// ECDSA over the SHA-256 of `message`, as DER.
    func signature(for message: Data) throws -> Data
}

/// What a server must show.
public enum ServerTrust: Sendable, Hashable {
    /// A chain to one of these authorities, in DER: two while a host's authority is being replaced. No other is trusted.
    case authorities([Data])
    /// A chain to the authority whose certificate has this SHA-256, in lowercase hexadecimal, and which the server must
    /// send with its own certificate.
    case fingerprint(String)
}

/// What was in a `.p12`.
public struct ImportedIdentity: Sendable, Hashable {
    /// The vault's name for the identity.
    public let identity: String
    /// The client's certificate, in DER.
    public let certificate: Data
    /// Certificates of authorities that came with it, in DER.
    public let authorities: [Data]

    public init(identity: String, certificate: Data, authorities: [Data]) {
        self.identity = identity
        self.certificate = certificate
        self.authorities = authorities
    }
}

public enum VaultError: Error, Sendable, Hashable {
    case wrongPassword
    /// The file is no PKCS#12, or is damaged.
    case damaged(String)
    /// There is no key, or no certificate, in the file or under that name.
    case noIdentity(String)
    /// The keychain refused, with its own words.
    case refused(String)
}

/// Where private keys are kept: the keychain on a Mac, a folder in tests. Keys never leave it.
///
/// An identity is a key with its certificate, known by a name of the vault's own.
public protocol IdentityVault: Sendable {
    /// A new key. `label` is what the keychain shows a person.
    func makeKey(label: String) throws -> any SigningKey

    /// Keeps a certificate (DER) beside the key that it is for, and returns the identity's name.
    func store(certificate: Data, for key: any SigningKey, label: String) throws -> String

    /// Keeps what is in a `.p12`. Raises `VaultError`.
    func importPKCS12(_ file: Data, password: String, label: String) throws -> ImportedIdentity

    /// Forgets an identity; one that is not there is forgotten already.
    func remove(_ identity: String) throws

    /// Connections to `address` that show the identity, or none, and trust no other server.
    func transport(to address: URL, as identity: String?, trusting trust: ServerTrust) throws -> any HTTPTransport
}
