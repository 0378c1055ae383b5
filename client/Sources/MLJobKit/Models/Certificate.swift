import Foundation

/// The body of `POST /certificate` and `POST /enrolment`: PKCS#10, in PEM or as the base64 of its DER.
public struct CertificateRequest: Codable, Hashable, Sendable {
    public let csr: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case csr
    }
}

/// A new certificate, and the authorities to trust from now on, one or two: both in PEM.
public struct IssuedCertificate: Codable, Hashable, Sendable {
    public let certificate: String
    public let caCertificates: String
    public let serial: String
    public let expiresAt: Date

    enum CodingKeys: String, CodingKey, CaseIterable {
        case certificate
        case caCertificates = "ca_certificates"
        case serial
        case expiresAt = "expires_at"
    }
}
