import Foundation

/// One refused value of a request; `field` is a path such as `hyperparameters.depth`.
public struct FieldProblem: Codable, Hashable, Sendable {
    public let field: String
    public let message: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case field, message
    }
}

/// The agent's refusal, an RFC 9457 problem document.
public struct Problem: Error, Codable, Hashable, Sendable {
    public let type: String
    public let title: String
    public let status: Int
    /// What is wrong, in one sentence.
    public let detail: String
    /// What would help.
    public let hint: String?
    public let errors: [FieldProblem]
    /// Seconds after which asking again may help; from `Retry-After`, not from the document.
    public var retryAfter: TimeInterval?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case type, title, status, detail, hint, errors
    }

    public init(
        code: String, title: String, status: Int, detail: String, hint: String? = nil, errors: [FieldProblem] = [],
        retryAfter: TimeInterval? = nil
    ) {
        self.type = "urn:ml-agent:problem:\(code)"
        self.title = title
        self.status = status
        self.detail = detail
        self.hint = hint
        self.errors = errors
        self.retryAfter = retryAfter
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        type = try members.value(.type, or: "about:blank")
        title = try members.value(.title, or: "")
        status = try members.decode(Int.self, forKey: .status)
        detail = try members.value(.detail, or: "")
        hint = try members.decodeIfPresent(String.self, forKey: .hint)
        errors = try members.value(.errors, or: [])
    }

    /// The stable code: `job-not-found`, `certificate-refused`, …
    public var code: String { type.split(separator: ":").last.map(String.init) ?? type }

    /// Whether asking again, later, may be answered otherwise.
    public var mayPass: Bool { status >= 500 || status == 429 || status == 408 }
}

extension Problem: LocalizedError, CustomStringConvertible {
    public var description: String {
        let fields = errors.map { "\($0.field): \($0.message)" }
        return ([[detail.isEmpty ? title : detail, hint ?? ""].filter { !$0.isEmpty }.joined(separator: " ")] + fields)
            .joined(separator: "\n")
    }
    public var errorDescription: String? { detail.isEmpty ? title : detail }
    public var recoverySuggestion: String? { hint }
}
