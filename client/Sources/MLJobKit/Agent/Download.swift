import Foundation

public enum DownloadError: Error, Hashable, Sendable {
    /// What arrived is not what the manifest says.
    case damaged(String)
    /// The path leads outside the folder.
    case unsafePath(String)
    /// The path has a part that begins with a dot: such files change what programs do.
    case hiddenPath(String)
    /// Another file is there already.
    case exists(String)
    case cannotWrite(path: String, reason: String, isDiskFull: Bool)
}

extension Agent {
    /// Fetches a file of a job to `destination`, over as many connections as it takes. The file appears once its size
    /// and SHA-256 are right. What a lost connection left is kept beside it and continued, also by a later call. What is
    /// there already stays: with the same bytes it is the file, otherwise `DownloadError.exists` is raised.
    ///
    /// `isFinal`: the job has ended. Before that, the agent promises no version of the file.
    public func download(
        _ artifact: Artifact, of job: String, to destination: URL, isFinal: Bool = true, backoff: Backoff = Backoff(),
        attempts: Int = 20, progress: (@Sendable (Int) -> Void)? = nil
    ) async throws {
        if try artifact.isThere(at: destination) { return }
        let target = "/jobs/\(URLPart.encode(job))/artifacts/\(URLPart.path(artifact.parts))"
        let condition = isFinal ? ["If-Match": "\"\(artifact.sha256)\""] : [:]
        var file = try PartialFile(of: artifact, at: destination)
        var backoff = backoff
        var failures = 0
        while !file.isComplete {
            let before = file.size
            do {
                try await fetch(target, condition, into: &file, progress: progress)
            } catch {
                failures = file.size > before ? 1 : failures + 1
                if file.size > before { backoff.reset() }
                guard Self.mayContinue(error), failures < attempts else { throw error }
                let asked = (error as? Problem)?.retryAfter ?? 0
                try await Task.sleep(for: .seconds(backoff.delay(atLeast: asked)))
            }
        }
        try file.publish()
    }

    private static func mayContinue(_ error: any Error) -> Bool {
        switch error {
        case let error as TransportError: error.mayPass
        case let problem as Problem: problem.mayPass
        default: false
        }
    }

    private func fetch(
        _ target: String, _ condition: [String: String], into file: inout PartialFile,
        progress: (@Sendable (Int) -> Void)?
    ) async throws {
        var headers = condition.merging(["Accept-Encoding": "identity"]) { $1 }
        if file.size > 0 { headers["Range"] = "bytes=\(file.size)-" }
        let (response, body) = try await transport.open(HTTPRequest("GET", target, headers: headers, isStream: true))
        switch response.status {
        case 206: break
        case 200 where file.size > 0: try file.restart()  // the server does not know ranges
        case 200: break
        default: throw try await Self.refusal(response, body)
        }
        for try await chunk in body {
            try file.append(chunk)
            progress?(file.size)
        }
        guard file.isComplete else { throw TransportError.lost("the file ended early") }
    }
}

/// A file on its way, beside where it will be.
struct PartialFile {
    private let artifact: Artifact
    private let destination: URL
    private let partial: URL
    private let handle: FileHandle
    private var hash = RunningSHA256()
    private(set) var size = 0

    var isComplete: Bool { size == artifact.size }

    /// Goes on with what an earlier download of the same bytes left.
    init(of artifact: Artifact, at destination: URL) throws {
        self.artifact = artifact
        self.destination = destination
        // Named after the content, so that only a download of the same bytes continues it.
        partial = destination.deletingLastPathComponent().appendingPathComponent(".\(artifact.sha256).part")
        let files = FileManager.default
        do {
            try files.createDirectory(
                at: destination.deletingLastPathComponent(), withIntermediateDirectories: true)
            if !files.fileExists(atPath: partial.path) {
                try Data().write(to: partial, options: .withoutOverwriting)
            }
            handle = try FileHandle(forUpdating: partial)
            try rehash()
        } catch {
            throw DownloadError.writing(partial, error)
        }
    }

    private mutating func rehash() throws {
        guard try handle.seekToEnd() <= artifact.size else { return try restart() }
        let end = Int(try handle.offset())
        try handle.seek(toOffset: 0)
        while size < end, let chunk = try handle.read(upToCount: 1 << 20), !chunk.isEmpty {
            hash.update(chunk)
            size += chunk.count
        }
    }

    mutating func restart() throws {
        do {
            try handle.truncate(atOffset: 0)
        } catch {
            throw DownloadError.writing(partial, error)
        }
        (size, hash) = (0, RunningSHA256())
    }

    mutating func append(_ chunk: Data) throws {
        guard size + chunk.count <= artifact.size else {
            try? FileManager.default.removeItem(at: partial)
            throw DownloadError.damaged("\(artifact.path) is longer than the \(artifact.size) bytes of its manifest")
        }
        do {
            try handle.write(contentsOf: chunk)
        } catch {
            throw DownloadError.writing(partial, error)
        }
        hash.update(chunk)
        size += chunk.count
    }

    /// Raises `DownloadError.damaged`, after which nothing is left, or puts the file in its place.
    mutating func publish() throws {
        guard hash.finish() == artifact.sha256 else {
            try? FileManager.default.removeItem(at: partial)
            throw DownloadError.damaged("\(artifact.path) has another SHA-256 than its manifest says")
        }
        do {
            // What has appeared meanwhile stays, also the file of a name that this file system takes for the same.
            if try artifact.isThere(at: destination) {
                try? FileManager.default.removeItem(at: partial)
                return
            }
            try handle.synchronize()
            try handle.close()
            guard rename(partial.path, destination.path) == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        } catch let error as DownloadError {
            try? FileManager.default.removeItem(at: partial)
            throw error
        } catch {
            throw DownloadError.writing(destination, error)
        }
    }
}

extension DownloadError {
    /// What a failed write to `url` means.
    static func writing(_ url: URL, _ error: any Error) -> DownloadError {
        let cause = error as NSError
        let root = cause.userInfo[NSUnderlyingErrorKey] as? NSError ?? cause
        let isFull =
            (root.domain == NSPOSIXErrorDomain && (root.code == Int(ENOSPC) || root.code == Int(EDQUOT)))
            || (cause.domain == NSCocoaErrorDomain && cause.code == CocoaError.fileWriteOutOfSpace.rawValue)
        return .cannotWrite(path: url.path, reason: cause.localizedDescription, isDiskFull: isFull)
    }
}

extension Artifact {
    /// Where the file belongs below `folder`. Raises `DownloadError.unsafePath` where that would be elsewhere, also by
    /// way of a link, and `DownloadError.hiddenPath` where a part begins with a dot and `hidden` is not set.
    public func destination(in folder: URL, hidden: Bool = false) throws -> URL {
        let isSafe = parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." && !$0.utf8.contains(0) }
        guard isSafe else { throw DownloadError.unsafePath(path) }
        guard hidden || !parts.contains(where: Self.isHidden) else { throw DownloadError.hiddenPath(path) }
        var place = folder
        for part in parts.dropLast() {
            place = place.appendingPathComponent(Self.localName(part))
            let kind = try? FileManager.default.attributesOfItem(atPath: place.path)[.type] as? FileAttributeType
            guard kind != .typeSymbolicLink else { throw DownloadError.unsafePath(path) }
        }
        return place.appendingPathComponent(Self.localName(parts.last ?? ""))
    }

    /// Also behind joiners, which some file systems ignore.
    private static func isHidden(_ part: String) -> Bool {
        part.unicodeScalars.first { $0 != "\u{200C}" && $0 != "\u{200D}" } == "."
    }

    /// A part of the path; cut, with a digest, if it is too long for a file system because it is escaped.
    private static func localName(_ part: String) -> String {
        guard part.utf8.count > 255, part.utf8.contains(UInt8(ascii: "%")) else { return part }
        return "\(String(decoding: part.utf8.prefix(230), as: UTF8.self))~\(Data(part.utf8).sha256.prefix(16))"
    }

    /// Whether this very file is there; raises `DownloadError.exists` where something else is.
    fileprivate func isThere(at file: URL) throws -> Bool {
        guard let found = try? FileManager.default.attributesOfItem(atPath: file.path) else { return false }
        guard found[.type] as? FileAttributeType == .typeRegular, (found[.size] as? NSNumber)?.intValue == size,
            let handle = try? FileHandle(forReadingFrom: file)
        else { throw DownloadError.exists(file.path) }
        var hash = RunningSHA256()
        while let chunk = try? handle.read(upToCount: 1 << 20), !chunk.isEmpty { hash.update(chunk) }
        guard hash.finish() == sha256 else { throw DownloadError.exists(file.path) }
        return true
    }
}

extension Agent {
    /// Writes a job's output so far to `file`, which appears once it is whole.
    public func saveLog(of job: String, to file: URL) async throws {
        let partial = file.deletingLastPathComponent().appendingPathComponent(".\(file.lastPathComponent).part")
        defer { try? FileManager.default.removeItem(at: partial) }
        let stream = try await plainLog(job)
        do {
            try Data().write(to: partial)
            let handle = try FileHandle(forWritingTo: partial)
            defer { try? handle.close() }
            for try await chunk in stream { try handle.write(contentsOf: chunk) }
            guard rename(partial.path, file.path) == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        } catch let error as TransportError {
            throw error
        } catch let error as CancellationError {
            throw error
        } catch {
            throw DownloadError.writing(file, error)
        }
    }
}
