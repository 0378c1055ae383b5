// What Security declares, as far as the app uses it: signatures without anything behind them. On Linux there is no
// Core Foundation: the types that `as` bridges on a Mac are the same type here.
@_exported import FoundationGaps
import FoundationNetworking

public typealias OSStatus = Int32
public typealias CFTypeRef = AnyObject
public typealias CFTypeID = UInt
public typealias CFString = String
public typealias CFData = Data
public typealias CFArray = [Any]
public typealias CFDictionary = [String: Any]
public final class CFError: Error {}

public final class SecIdentity {}
public final class SecCertificate {}
public final class SecKey {}
public final class SecTrust {}

public struct SecKeyAlgorithm: Hashable, RawRepresentable, Sendable {
    public let rawValue: CFString
    public init(rawValue: CFString) { self.rawValue = rawValue }
    public static let ecdsaSignatureMessageX962SHA256: SecKeyAlgorithm = declared()
}

public var errSecSuccess: OSStatus { declared() }
public var errSecItemNotFound: OSStatus { declared() }
public var errSecDuplicateItem: OSStatus { declared() }
public var errSecAuthFailed: OSStatus { declared() }
public var errSecHostNameMismatch: OSStatus { declared() }
public var errSecCertificateExpired: OSStatus { declared() }
public var errSecCertificateNotValidYet: OSStatus { declared() }
public var errSecDecode: OSStatus { declared() }
public var errSecPkcs12VerifyFailure: OSStatus { declared() }

public func SecPKCS12Import(
    _ pkcs12_data: CFData, _ options: CFDictionary, _ items: UnsafeMutablePointer<CFArray?>
) -> OSStatus {
    declared()
}
public func SecItemCopyMatching(_ query: CFDictionary, _ result: UnsafeMutablePointer<CFTypeRef?>?) -> OSStatus {
    declared()
}
public func SecItemAdd(_ attributes: CFDictionary, _ result: UnsafeMutablePointer<CFTypeRef?>?) -> OSStatus {
    declared()
}
public func SecItemDelete(_ query: CFDictionary) -> OSStatus { declared() }
public func SecCertificateCreateWithData(_ allocator: CFAllocator?, _ data: CFData) -> SecCertificate? { declared() }
public func SecCertificateCopyData(_ certificate: SecCertificate) -> CFData { declared() }
public func SecIdentityCreateWithCertificate(
    _ keychainOrArray: CFTypeRef?, _ certificateRef: SecCertificate, _ identityRef: UnsafeMutablePointer<SecIdentity?>
) -> OSStatus {
    declared()
}
public func SecIdentityCopyCertificate(
    _ identityRef: SecIdentity, _ certificateRef: UnsafeMutablePointer<SecCertificate?>
) -> OSStatus {
    declared()
}
public func SecKeyCreateRandomKey(
    _ parameters: CFDictionary, _ error: UnsafeMutablePointer<Unmanaged<CFError>?>?
) -> SecKey? {
    declared()
}
public func SecKeyCopyPublicKey(_ key: SecKey) -> SecKey? { declared() }
public func SecKeyCopyExternalRepresentation(
    _ key: SecKey, _ error: UnsafeMutablePointer<Unmanaged<CFError>?>?
) -> CFData? {
    declared()
}
public func SecKeyCreateSignature(
    _ key: SecKey, _ algorithm: SecKeyAlgorithm, _ dataToSign: CFData,
    _ error: UnsafeMutablePointer<Unmanaged<CFError>?>?
) -> CFData? {
    declared()
}
public func SecTrustSetAnchorCertificates(_ trust: SecTrust, _ anchorCertificates: CFArray?) -> OSStatus { declared() }
public func SecTrustSetAnchorCertificatesOnly(_ trust: SecTrust, _ anchorCertificatesOnly: Bool) -> OSStatus {
    declared()
}
public func SecTrustEvaluateWithError(_ trust: SecTrust, _ error: UnsafeMutablePointer<CFError?>?) -> Bool {
    declared()
}
public func SecTrustCopyCertificateChain(_ trust: SecTrust) -> CFArray? { declared() }
public func SecCopyErrorMessageString(_ status: OSStatus, _ reserved: UnsafeMutableRawPointer?) -> CFString? {
    declared()
}

public final class CFAllocator {}
public func CFGetTypeID(_ cf: CFTypeRef!) -> CFTypeID { declared() }
public func CFErrorGetCode(_ err: CFError!) -> Int { declared() }
public func SecIdentityGetTypeID() -> CFTypeID { declared() }
public func SecCertificateGetTypeID() -> CFTypeID { declared() }
public func SecIdentityCopyPrivateKey(
    _ identityRef: SecIdentity, _ privateKeyRef: UnsafeMutablePointer<SecKey?>
) -> OSStatus {
    declared()
}

extension URLProtectionSpace {
    public var serverTrust: SecTrust? { declared() }
}
extension URLCredential {
    public convenience init(
        identity: SecIdentity, certificates certArray: [Any]?, persistence: URLCredential.Persistence
    ) {
        self.init(user: "", password: "", persistence: .none)
    }
    public convenience init(trust: SecTrust) { self.init(user: "", password: "", persistence: .none) }
}
public let NSURLAuthenticationMethodClientCertificate: String = declared()
public let NSURLAuthenticationMethodServerTrust: String = declared()

/// Nothing here runs: the module exists for the type checker.
func declared<T>(_ name: StaticString = #function) -> T {
    fatalError("\(name) is declared for the type checker only")
}
