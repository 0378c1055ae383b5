import Foundation

/// What an administrator sends a new user: `ml-job://HOST:PORT/enrol?code=CODE&ca=SHA256`.
public struct Invitation: Sendable, Hashable {
    /// `https://HOST:PORT`.
    public let address: URL
    /// Good once.
    public let code: String
    /// The SHA-256 of the authority's certificate, in lowercase hexadecimal.
    public let fingerprint: String

    public init(address: URL, code: String, fingerprint: String) {
        self.address = address
        self.code = code
        self.fingerprint = fingerprint
    }

    /// Takes the link out of pasted text, whatever stands around it. Raises `InvitationError`.
    public init(pasted text: String) throws {
        guard let link = Self.link(in: text) else { throw InvitationError.noLink }
        guard let parts = URLComponents(string: link), let host = parts.host, !host.isEmpty else {
            throw InvitationError.incomplete("the host's name")
        }
        let items = Dictionary((parts.queryItems ?? []).map { ($0.name, $0.value ?? "") }) { first, _ in first }
        guard let code = items["code"], !code.isEmpty else { throw InvitationError.incomplete("the code") }
        let fingerprint = (items["ca"] ?? "").lowercased().filter { $0 != ":" }
        guard fingerprint.count == 64, fingerprint.allSatisfy(\.isHexDigit) else {
            throw InvitationError.incomplete("the authority's fingerprint")
        }
        var address = URLComponents()
        address.scheme = "https"
        address.host = host
        address.port = parts.port
        guard let url = address.url else { throw InvitationError.incomplete("the host's name") }
        self.init(address: url, code: code, fingerprint: fingerprint)
    }

    /// Mail programs break lines, and put links into angle brackets and quotes.
    private static func link(in text: String) -> String? {
        guard let start = text.range(of: "ml-job://", options: .caseInsensitive) else { return nil }
        let ends = CharacterSet.whitespaces.union(CharacterSet(charactersIn: "<>\"'`|\u{201c}\u{201d}\u{2019}"))
        let rest = text[start.lowerBound...].filter { !$0.isNewline }
        let link = rest.prefix { !$0.unicodeScalars.contains(where: ends.contains) }
        return link.isEmpty ? nil : "ml-job" + link.dropFirst("ml-job".count)
    }
}

public enum InvitationError: Error, Sendable, Hashable {
    /// The text has no `ml-job://` link.
    case noLink
    /// The link lacks this part.
    case incomplete(String)
}
