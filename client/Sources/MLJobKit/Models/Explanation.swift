import Foundation

/// Where a piece of evidence was found.
public struct EvidenceSource: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let record = EvidenceSource(rawValue: "record")
    public static let queue = EvidenceSource(rawValue: "queue")
    public static let log = EvidenceSource(rawValue: "log")
    public static let usage = EvidenceSource(rawValue: "usage")
}

/// One thing that an explanation rests on. `line` is the number of a line of the log.
public struct Evidence: Codable, Hashable, Sendable {
    public let source: EvidenceSource
    public let text: String
    public let line: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case source, text, line
    }
}

/// Why a job waits, or why it ended as it did: one sentence, what would help, and the evidence.
public struct Explanation: Codable, Hashable, Sendable {
    public let jobID: String
    public let status: JobStatus
    public let summary: String
    public let advice: [String]
    public let evidence: [Evidence]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case status, summary, advice, evidence
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        jobID = try members.decode(String.self, forKey: .jobID)
        status = try members.decode(JobStatus.self, forKey: .status)
        summary = try members.decode(String.self, forKey: .summary)
        advice = try members.value(.advice, or: [])
        evidence = try members.value(.evidence, or: [])
    }
}
