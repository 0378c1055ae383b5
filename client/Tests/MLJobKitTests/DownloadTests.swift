import Foundation
import Testing

@testable import MLJobKit

@Suite(.timeLimit(.minutes(5))) struct DownloadTests {
    static let content = Data((0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
    static let artifact = Artifact(path: "models/größe.bin", size: content.count, sha256: content.sha256)
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// Serves ranges, and cuts the answer off after so many bytes.
    static func server(cutAfter sizes: [Int] = [], content: Data = content) -> ScriptedTransport {
        ScriptedTransport { request, count in
            let from = request.headers["Range"].flatMap { Int($0.dropFirst("bytes=".count).dropLast()) } ?? 0
            let rest = content.dropFirst(from)
            let status = from > 0 ? 206 : 200
            guard count < sizes.count else { return .init(status: status, body: [Data(rest)]) }
            return .init(status: status, body: [Data(rest.prefix(sizes[count]))], end: .failure(.lost("cut")))
        }
    }

    func download(_ transport: ScriptedTransport, _ artifact: Artifact = artifact, attempts: Int = 20) async throws {
        try await Agent(transport).download(
            artifact, of: "a", to: scratch.file("x.bin"), backoff: .quick, attempts: attempts)
    }

    @Test func throughFiveCuts() async throws {
        let transport = Self.server(cutAfter: [0, 1, 30_000, 65_536, 3])
        try await download(transport)
        #expect(try Data(contentsOf: scratch.file("x.bin")) == Self.content && scratch.names == ["x.bin"])
        #expect(
            transport.requests.map { $0.headers["Range"] } == [
                nil, nil, "bytes=1-", "bytes=30001-", "bytes=95537-", "bytes=95540-",
            ])
        let first = try #require(transport.requests.first)
        #expect(first.target == "/jobs/a/artifacts/models/gr%C3%B6%C3%9Fe.bin")
        #expect(first.headers["If-Match"] == "\"\(Self.artifact.sha256)\"" && first.isStream)
    }

    @Test func aLaterDownloadContinuesTheFirst() async throws {
        await #expect(throws: TransportError.lost("cut")) {
            try await download(Self.server(cutAfter: [50_000]), attempts: 1)
        }
        #expect(scratch.names.count == 1 && scratch.names[0].hasSuffix(".part"))
        let transport = Self.server()
        try await download(transport)
        #expect(transport.requests.map { $0.headers["Range"] } == ["bytes=50000-"])
        #expect(try Data(contentsOf: scratch.file("x.bin")).sha256 == Self.artifact.sha256)
    }

    @Test func aServerWithoutRangesBeginsAnew() async throws {
        let transport = ScriptedTransport(
            .init(body: [Self.content.prefix(10)], end: .failure(.lost("cut"))), .init(body: [Self.content]))
        try await download(transport)
        #expect(try Data(contentsOf: scratch.file("x.bin")) == Self.content)
    }

    @Test func aDamagedFileDoesNotAppear() async throws {
        try Data("old".utf8).write(to: scratch.file("x.bin"))
        var damaged = Self.content
        damaged[5] ^= 1
        let error = await caught(DownloadError.self) { try await download(Self.server(content: damaged)) }
        guard case .damaged? = error else { return #expect(Bool(false)) }
        #expect(scratch.names == ["x.bin"])
        #expect(try Data(contentsOf: scratch.file("x.bin")) == Data("old".utf8))
    }

    @Test func aFileThatIsTooLongDoesNotAppear() async throws {
        let transport = ScriptedTransport(.init(body: [Self.content + [0]]))
        guard case .damaged? = await caught(DownloadError.self, { try await download(transport) }) else {
            return #expect(Bool(false))
        }
        #expect(scratch.names.isEmpty)
    }

    @Test func anEmptyFileAppears() async throws {
        try await download(Self.server(), Artifact(path: "empty", size: 0, sha256: Data().sha256))
        #expect(try Data(contentsOf: scratch.file("x.bin")).isEmpty)
    }

    @Test func aRefusalIsRaised() async throws {
        let error = await caught(Problem.self) {
            try await download(ScriptedTransport(.problem(412, "precondition-failed")))
        }
        #expect(error?.status == 412)
    }

    @Test func busyServersAreAskedAgain() async throws {
        let transport = ScriptedTransport(
            .problem(503, "busy", headers: ["Retry-After": "0.01"]), .init(body: [Self.content]))
        try await download(transport)
        #expect(transport.requests.count == 2)
    }

    @Test func aServerThatSendsNothingIsGivenUp() async throws {
        let transport = ScriptedTransport(.init(body: [], end: .failure(.lost("cut"))))
        await #expect(throws: TransportError.self) { try await download(transport, attempts: 4) }
        #expect(transport.requests.count == 4)
    }

    /// Linux answers every write to /dev/full as a full disk does.
    @Test func aFullDiskIsSaid() async throws {
        let partial = scratch.file(".\(Self.artifact.sha256.prefix(16)).x.bin.part")
        try FileManager.default.createSymbolicLink(atPath: partial.path, withDestinationPath: "/dev/full")
        let error = await caught(DownloadError.self) { try await download(Self.server()) }
        guard case .cannotWrite(_, _, let isDiskFull)? = error else { return #expect(Bool(false), "\(error as Any)") }
        #expect(isDiskFull)
        #expect(Trouble(try #require(error))?.kind == .diskFull)
    }

    @Test func aFolderThatIsNoneIsSaid() async throws {
        try Data().write(to: scratch.file("x.bin"))
        let error = await caught(DownloadError.self) {
            try await Agent(Self.server()).download(Self.artifact, of: "a", to: scratch.file("x.bin/inside"))
        }
        guard case .cannotWrite(_, _, isDiskFull: false)? = error else { return #expect(Bool(false)) }
    }

    @Test func progressIsTold() async throws {
        let last = Last()
        try await Agent(Self.server(cutAfter: [10])).download(
            Self.artifact, of: "a", to: scratch.file("x.bin"), backoff: .quick, progress: { last.set($0) })
        #expect(last.value == Self.content.count)
    }

    final class Last: @unchecked Sendable {
        private let lock = NSLock()
        private var number = 0
        var value: Int { lock.withLock { number } }
        func set(_ new: Int) { lock.withLock { number = new } }
    }

    @Test(arguments: ["../x", "/x", "a//b", "a/../../x", "", ".", "a/\0"]) func unsafePathsAreRefused(_ path: String) {
        #expect(throws: DownloadError.unsafePath(path)) {
            try Artifact(path: path, size: 0, sha256: "").destination(in: scratch.url)
        }
    }

    @Test func theHashIsRight() {
        #expect(Data().sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(Data("abc".utf8).sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let million = Data(repeating: UInt8(ascii: "a"), count: 1_000_000)
        #expect(million.sha256 == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        for size in 54...130 {
            let data = Data(repeating: 7, count: size)
            var pieces = RunningSHA256()
            for byte in data { pieces.update(Data([byte])) }
            #expect(pieces.finish() == data.sha256)
        }
    }
}
