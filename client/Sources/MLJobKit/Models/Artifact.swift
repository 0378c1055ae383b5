import Foundation

/// A file that a job left; `path` is relative, with `/` between its parts. `%` and two hexadecimal digits stand for a
/// byte of its name that is no safe text.
public struct Artifact: Codable, Hashable, Sendable, Identifiable {
    /// Bytes: Swift takes ö and o with a diaeresis for the same, but they are two files.
    public var id: Data { Data(path.utf8) }
    public let path: String
    public let size: Int
    public let sha256: String
    public let mediaType: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case path, size, sha256
        case mediaType = "media_type"
    }

    public init(path: String, size: Int, sha256: String, mediaType: String = "application/octet-stream") {
        self.path = path
        self.size = size
        self.sha256 = sha256
        self.mediaType = mediaType
    }

    /// What is between the slashes. A slash with a combining mark behind it is no slash to Swift, but to the system.
    public var parts: [String] {
        path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map { String(Substring($0)) }
    }
}

/// What a job left behind; `complete` once the job has ended and nothing changes any more.
public struct ArtifactManifest: Codable, Hashable, Sendable {
    public let jobID: String
    public let complete: Bool
    public let artifacts: [Artifact]
    /// The paths of `leftOut`; an older agent has these alone.
    public let skipped: [String]
    /// The first of the `leftOutCount` paths that are not published, and why.
    public let leftOut: [LeftOut]
    public let leftOutCount: Int

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case complete, artifacts, skipped
        case leftOut = "left_out"
        case leftOutCount = "left_out_count"
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        jobID = try members.decode(String.self, forKey: .jobID)
        complete = try members.decode(Bool.self, forKey: .complete)
        artifacts = try members.decode([Artifact].self, forKey: .artifacts)
        skipped = try members.value(.skipped, or: [])
        leftOut = try members.value(.leftOut, or: [])
        leftOutCount = try members.value(.leftOutCount, or: skipped.count)
    }

    /// What is not published, one sentence each.
    public var remarks: [String] {
        leftOut.isEmpty
            ? skipped.map { "\($0) was not published." }
            : leftOut.map { "\($0.path) was not published: it \($0.reason)." }
    }
}
