import Foundation
import MLJobKit
import Security

/// A key that never leaves the keychain. Unchecked, for Core Foundation's object: it is immutable.
struct KeychainKey: SigningKey, @unchecked Sendable {
    let key: SecKey

    var publicPoint: Data {
        get throws {
            var error: Unmanaged<CFError>?
            guard let open = SecKeyCopyPublicKey(key) else { throw Keychain.refused(nil as Unmanaged<CFError>?) }
            guard let point = SecKeyCopyExternalRepresentation(open, &error) else { throw Keychain.refused(error) }
            return point as Data
        }
    }

    func signature(for message: Data) throws -> Data {
        var error: Unmanaged<CFError>?
        let algorithm = SecKeyAlgorithm.ecdsaSignatureMessageX962SHA256
        guard let signature = SecKeyCreateSignature(key, algorithm, message as CFData, &error) else {
            throw Keychain.refused(error)
        }
        return signature as Data
    }
}
