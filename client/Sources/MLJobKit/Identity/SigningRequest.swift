import Foundation

extension CertificateRequest {
    /// A PKCS#10 request for `key` (RFC 2986). Of what it says, the agent takes the key alone.
    public init(key: any SigningKey, commonName: String) throws {
        let point = try key.publicPoint
        guard point.count == 65, point.first == 4 else {
            throw VaultError.damaged("the public key is no uncompressed point on P-256")
        }
        let name = DER.sequence(DER.set(DER.sequence(DER.commonName, DER.text(commonName))))
        let publicKey = DER.sequence(DER.sequence(DER.ecPublicKey, DER.prime256v1), DER.bits(Array(point)))
        let info = DER.sequence(DER.tlv(0x02, [0]), name, publicKey, DER.tlv(0xa0, []))
        let signature = try key.signature(for: Data(info))
        let request = DER.sequence(info, DER.sequence(DER.ecdsaWithSHA256), DER.bits(Array(signature)))
        self.init(csr: PEM.encode(Data(request), label: "CERTIFICATE REQUEST"))
    }
}
