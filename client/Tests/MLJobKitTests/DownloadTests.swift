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

    @Test func anotherFileStays() async throws {
        try Data("old".utf8).write(to: scratch.file("x.bin"))
        let transport = Self.server()
        let error = await caught(DownloadError.self) { try await download(transport) }
        #expect(error == .exists(scratch.file("x.bin").path) && transport.requests.isEmpty)
        #expect(try Data(contentsOf: scratch.file("x.bin")) == Data("old".utf8) && scratch.names == ["x.bin"])
    }

    @Test func aLinkInItsPlaceStays() async throws {
        try FileManager.default.createSymbolicLink(
            atPath: scratch.file("x.bin").path, withDestinationPath: scratch.file("elsewhere").path)
        let error = await caught(DownloadError.self) { try await download(Self.server()) }
        #expect(error == .exists(scratch.file("x.bin").path) && scratch.names == ["x.bin"])
    }

    @Test func whatAppearsMeanwhileStays() async throws {
        let file = scratch.file("x.bin")
        let transport = ScriptedTransport { _, _ in
            try? Data("mine".utf8).write(to: file)
            return .init(body: [Self.content])
        }
        let error = await caught(DownloadError.self) { try await download(transport) }
        #expect(error == .exists(file.path))
        #expect(try Data(contentsOf: file) == Data("mine".utf8))
    }

    @Test func theSameFileIsNotFetchedAgain() async throws {
        try Self.content.write(to: scratch.file("x.bin"))
        let transport = Self.server()
        try await download(transport)
        #expect(transport.requests.isEmpty && scratch.names == ["x.bin"])
    }

    @Test func theFileOfARunningJobHasNoVersion() async throws {
        let transport = Self.server(cutAfter: [30_000])
        try await Agent(transport).download(
            Self.artifact, of: "a", to: scratch.file("x.bin"), isFinal: false, backoff: .quick)
        #expect(transport.requests.map { $0.headers["If-Match"] } == [nil, nil])
        #expect(try Data(contentsOf: scratch.file("x.bin")) == Self.content)
    }

    @Test func aDamagedFileDoesNotAppear() async throws {
        var damaged = Self.content
        damaged[5] ^= 1
        let error = await caught(DownloadError.self) { try await download(Self.server(content: damaged)) }
        guard case .damaged? = error else { return #expect(Bool(false)) }
        #expect(scratch.names.isEmpty)
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
        let partial = scratch.file(".\(Self.artifact.sha256).part")
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

    /// To Swift, a slash or a dot with a combining mark behind it is another character.
    @Test(arguments: ["../x", "/x", "a//b", "a/../../x", "", ".", "a/\0", "../\u{301}x", "a/../../\u{301}x"])
    func unsafePathsAreRefused(_ path: String) {
        for hidden in [false, true] {
            #expect(throws: DownloadError.unsafePath(path)) {
                try Artifact(path: path, size: 0, sha256: "").destination(in: scratch.url, hidden: hidden)
            }
        }
    }

    @Test(arguments: [".git/config", "a/.ssh/x", ".x", ".\u{301}x", "\u{200C}.git/x", "a/\u{301}b/.git"])
    func hiddenPathsAreForThoseWhoAsk(_ path: String) throws {
        let artifact = Artifact(path: path, size: 0, sha256: "")
        #expect(throws: DownloadError.hiddenPath(path)) { try artifact.destination(in: scratch.url) }
        #expect(try artifact.destination(in: scratch.url, hidden: true).path.hasPrefix(scratch.url.path))
    }

    @Test func aLinkLeadsNoFileOutOfTheFolder() throws {
        let folder = scratch.file("folder")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        try FileManager.default.createSymbolicLink(
            atPath: folder.appendingPathComponent("out").path, withDestinationPath: scratch.url.path)
        #expect(throws: DownloadError.unsafePath("out/x")) {
            try Artifact(path: "out/x", size: 0, sha256: "").destination(in: folder)
        }
    }

    @Test func anEscapedNameThatIsTooLongIsCut() throws {
        func name(_ path: String) throws -> String {
            try Artifact(path: path, size: 0, sha256: "").destination(in: scratch.url).lastPathComponent
        }
        let long = String(repeating: "%E9", count: 255)
        #expect(try name(long).utf8.count == 247 && name(long).hasPrefix("%E9%E9"))
        #expect(try name(long) != name(long + "%E8"))
        #expect(try name("100%") == "100%" && name(String(repeating: "n", count: 255)).utf8.count == 255)
    }

    @Test func namesThatDifferOnlyInTheirCompositionAreTwoArtifacts() {
        let one = Artifact(path: "\u{F6}", size: 1, sha256: "")
        let two = Artifact(path: "o\u{308}", size: 1, sha256: "")
        #expect(one.path == two.path && one.id != two.id)
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
