import Foundation

/// What a certificate says, as far as a client needs it (RFC 5280). Nothing is verified here.
public struct CertificateDetails: Sendable, Hashable {
    /// In lowercase hexadecimal, as the host names it.
    public let serial: String
    public let notBefore: Date
    public let notAfter: Date
    /// The user of `urn:ml-job:user:NAME`, for which the host answers.
    public let user: String?
    /// The public key as an uncompressed point, where it is on P-256.
    public let publicPoint: Data?

    /// Nil where `der` is no certificate.
    public init?(_ der: Data) {
        var outer = DERReader(Array(der)[...])
        guard let certificate = outer.next(0x30), outer.isAtEnd else { return nil }
        var parts = DERReader(certificate)
        guard let body = parts.next(0x30) else { return nil }
        var fields = DERReader(body)
        guard var field = fields.next() else { return nil }
        if field.tag == 0xa0 {  // the version
            guard let next = fields.next() else { return nil }
            field = next
        }
        guard field.tag == 0x02, fields.next(0x30) != nil, fields.next(0x30) != nil,
            let validity = fields.next(0x30), fields.next(0x30) != nil, let key = fields.next(0x30)
        else { return nil }
        var times = DERReader(validity)
        guard let from = times.next().flatMap(Self.time), let to = times.next().flatMap(Self.time) else { return nil }
        let digits = Data(field.content).hexadecimal.drop { $0 == "0" }
        serial = digits.isEmpty ? "0" : String(digits)
        notBefore = from
        notAfter = to
        publicPoint = Self.point(key)
        user = Self.user(&fields)
    }

    /// The moment from which on it should be renewed: the last third of its life.
    public var renewFrom: Date { notAfter - notAfter.timeIntervalSince(notBefore) / 3 }

    private static func time(_ element: DERReader.Element) -> Date? {
        var text = String(decoding: element.content, as: UTF8.self)
        if element.tag == 0x17 { text = (text.prefix(2) < "50" ? "20" : "19") + text }  // UTCTime
        guard text.count == 15, text.last == "Z" else { return nil }
        let digits = Array(text)
        func part(_ range: Range<Int>) -> String { String(digits[range]) }
        return AgentTime.parse(
            "\(part(0..<4))-\(part(4..<6))-\(part(6..<8))T\(part(8..<10)):\(part(10..<12)):\(part(12..<14)).000Z")
    }

    private static func point(_ key: ArraySlice<UInt8>) -> Data? {
        var parts = DERReader(key)
        guard let algorithm = parts.next(0x30), Array(algorithm) == DER.ecPublicKey + DER.prime256v1,
            let bits = parts.next(0x03), bits.count == 66, bits.first == 0
        else { return nil }
        return Data(bits.dropFirst())
    }

    private static func user(_ fields: inout DERReader) -> String? {
        while let field = fields.next() {
            guard field.tag == 0xa3 else { continue }
            var wrapper = DERReader(field.content)
            guard let list = wrapper.next(0x30) else { return nil }
            var extensions = DERReader(list)
            while let entry = extensions.next(0x30) {
                if let user = userName(entry) { return user }
            }
        }
        return nil
    }

    private static func userName(_ entry: ArraySlice<UInt8>) -> String? {
        var parts = DERReader(entry)
        guard let kind = parts.next(), Array(kind.whole) == DER.subjectAlternativeName else { return nil }
        while let value = parts.next() {
            guard value.tag == 0x04 else { continue }  // a flag may stand before it
            var wrapper = DERReader(value.content)
            guard let list = wrapper.next(0x30) else { return nil }
            var names = DERReader(list)
            while let name = names.next() {
                let text = String(decoding: name.content, as: UTF8.self)
                if name.tag == 0x86, text.hasPrefix("urn:ml-job:user:") {
                    return String(text.dropFirst("urn:ml-job:user:".count))
                }
            }
        }
        return nil
    }
}
