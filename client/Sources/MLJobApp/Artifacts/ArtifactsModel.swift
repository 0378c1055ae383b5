import Foundation
import MLJobKit
import Observation

/// Downloads for Quick Look, for the Finder and into folders, with their progress. Every file is checked against its
/// SHA-256 before it appears.
@MainActor @Observable
final class ArtifactsModel {
    /// What Quick Look shows.
    var preview: URL?
    var trouble: Trouble?
    /// Bytes so far, by path.
    private(set) var loaded: [Artifact.ID: Int] = [:]
    @ObservationIgnored private let detail: JobDetail

    init(detail: JobDetail) { self.detail = detail }

    var isBusy: Bool { !loaded.isEmpty }

    func show(_ artifact: Artifact) async {
        do { preview = try await cached(artifact) } catch { trouble = Trouble(error) }
    }

    /// A file of the app's own, for looking and dragging; fetched once, and anew when the job has written it again.
    func cached(_ artifact: Artifact) async throws -> URL {
        let folder = Self.cache.appending(path: "\(detail.id)/\(artifact.sha256)", directoryHint: .isDirectory)
        let file = try artifact.destination(in: folder, hidden: true)
        let isThere = FileManager.default.fileExists(atPath: file.path)
        return isThere ? file : try await fetch(artifact, into: folder, hidden: true)
    }

    /// Into a folder that the person has chosen: all or none where a path is refused. Stops at the first failure, which
    /// says which file it was.
    func save(_ artifacts: [Artifact], into folder: URL) async {
        let isScoped = folder.startAccessingSecurityScopedResource()
        defer { if isScoped { folder.stopAccessingSecurityScopedResource() } }
        do {
            for artifact in artifacts { _ = try artifact.destination(in: folder) }
            for artifact in artifacts { _ = try await fetch(artifact, into: folder) }
        } catch {
            trouble = Trouble(error)
        }
    }

    private func fetch(_ artifact: Artifact, into folder: URL, hidden: Bool = false) async throws -> URL {
        loaded[artifact.id] = 0
        defer { loaded[artifact.id] = nil }
        return try await detail.download(artifact, into: folder, hidden: hidden) { bytes in
            Task { @MainActor [weak self] in self?.note(bytes, of: artifact.id) }
        }
    }

    /// A word that comes after the end is of no use any more.
    private func note(_ bytes: Int, of id: Artifact.ID) { if loaded[id] != nil { loaded[id] = bytes } }

    /// macOS empties it when it needs the room.
    private static let cache = URL.cachesDirectory.appending(path: "Artifacts", directoryHint: .isDirectory)
}
