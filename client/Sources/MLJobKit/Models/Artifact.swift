import Foundation

/// A file that a job left; `path` is relative, with `/` between its parts.
public struct Artifact: Codable, Hashable, Sendable, Identifiable {
    public var id: String { path }
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

    /// The last part of the path.
    public var name: String { path.split(separator: "/").last.map(String.init) ?? path }
}

/// What a job left behind; `complete` once the job has ended and nothing changes any more.
public struct ArtifactManifest: Codable, Hashable, Sendable {
    public let jobID: String
    public let complete: Bool
    public let artifacts: [Artifact]
    /// What was left there but is no plain file.
    public let skipped: [String]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case complete, artifacts, skipped
    }
}
