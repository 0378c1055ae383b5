import Foundation
import Testing

@testable import MLJobKit

@Suite(.timeLimit(.minutes(5))) struct ByteStreamTests {
    /// What a transfer was told to do.
    final class Notes: @unchecked Sendable {
        private let lock = NSLock()
        private var notes: [String] = []
        func add(_ note: String) { lock.withLock { notes.append(note) } }
        var all: [String] { lock.withLock { notes } }
    }

    func pipe(_ notes: Notes, capacity: Int = 4) -> BytePipe {
        BytePipe(
            capacity: capacity, onPause: { notes.add("pause") }, onResume: { notes.add("resume") },
            onCancel: { notes.add("cancel") })
    }

    @Test func chunksArriveInOrderAndTogether() async throws {
        let pipe = BytePipe()
        pipe.push(Data("ab".utf8))
        pipe.push(Data())
        pipe.push(Data("cd".utf8))
        pipe.finish(.success(()))
        pipe.push(Data("late".utf8))
        #expect(try await ByteStream(pipe).collect(limit: 10) == Data("abcd".utf8))
    }

    @Test func aReaderWaits() async throws {
        let pipe = BytePipe()
        let stream = ByteStream(pipe)
        async let first = { try await stream.makeAsyncIterator().next() }()
        try await Task.sleep(for: .milliseconds(20))
        pipe.push(Data("x".utf8))
        #expect(try await first == Data("x".utf8))
    }

    @Test func aFullBufferPausesTheTransferOnce() async throws {
        let notes = Notes()
        let pipe = pipe(notes)
        let iterator = ByteStream(pipe).makeAsyncIterator()
        for _ in 0..<3 { pipe.push(Data("abc".utf8)) }
        #expect(notes.all == ["pause"] && pipe.waiting == 9)
        #expect(try await iterator.next()?.count == 9)
        #expect(notes.all == ["pause", "resume"] && pipe.waiting == 0)
    }

    @Test func aThreadWaitsForRoom() async throws {
        let pipe = BytePipe(capacity: 2)
        let stream = ByteStream(pipe)
        let notes = Notes()
        let thread = Thread {
            for _ in 0..<3 { notes.add("\(pipe.pushWaiting(Data("ab".utf8)))") }
            pipe.finish(.success(()))
        }
        thread.start()
        try await eventually { notes.all.count == 1 }
        #expect(pipe.waiting == 2)
        #expect(try await stream.collect(limit: 10) == Data("ababab".utf8))
        try await eventually { notes.all == ["true", "true", "true"] }
    }

    @Test func aDroppedStreamEndsItsTransfer() async throws {
        let notes = Notes()
        let pipe = pipe(notes)
        do {
            let stream = ByteStream(pipe)
            pipe.push(Data("x".utf8))
            for try await _ in stream { break }
        }
        #expect(notes.all == ["cancel"] && pipe.isCancelled)
        #expect(!pipe.pushWaiting(Data("y".utf8)))
    }

    @Test func aFinishedStreamIsNotCancelled() async throws {
        let notes = Notes()
        let pipe = pipe(notes)
        pipe.finish(.success(()))
        _ = try await ByteStream(pipe).collect(limit: 1)
        #expect(notes.all.isEmpty)
    }

    @Test func aCancelledReaderEndsTheTransfer() async throws {
        let notes = Notes()
        let stream = ByteStream(pipe(notes))
        let reader = Task { try await stream.collect(limit: 10) }
        try await Task.sleep(for: .milliseconds(20))
        reader.cancel()
        await #expect(throws: CancellationError.self) { try await reader.value }
        #expect(notes.all == ["cancel"])
    }

    @Test func anInterruptionReachesTheReader() async throws {
        let pipe = BytePipe()
        let stream = ByteStream(pipe)
        #expect(pipe.interruption == nil)
        pipe.push(Data("given up".utf8))
        stream.interrupt(TransportError.invalidated)
        await #expect(throws: TransportError.invalidated) { try await stream.collect(limit: 10) }
        #expect(pipe.interruption as? TransportError == .invalidated)
    }

    @Test func aFailureComesBehindWhatArrived() async throws {
        let pipe = BytePipe()
        pipe.push(Data("half".utf8))
        pipe.finish(.failure(TransportError.lost("cut")))
        let iterator = ByteStream(pipe).makeAsyncIterator()
        #expect(try await iterator.next() == Data("half".utf8))
        await #expect(throws: TransportError.lost("cut")) { try await iterator.next() }
    }

    @Test func aBodyHasABound() async throws {
        let pipe = BytePipe()
        pipe.push(Data("abc".utf8))
        pipe.finish(.success(()))
        await #expect(throws: TransportError.tooLarge(2)) { try await ByteStream(pipe).collect(limit: 2) }
    }
}
