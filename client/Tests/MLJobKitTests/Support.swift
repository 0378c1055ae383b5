import Foundation
import Testing

@testable import MLJobKit

enum Fixture {
    static func data(_ name: String) throws -> Data {
        let url = try #require(Bundle.module.url(forResource: "Fixtures/\(name)", withExtension: nil))
        return try Data(contentsOf: url)
    }
}

/// Objects as the agent writes them.
enum Sample {
    static let time = "2026-01-01T00:00:00.000Z"

    static func decode<Value: Decodable>(_ type: Value.Type, _ text: String) throws -> Value {
        try JSONDecoder.ofAgent().decode(Value.self, from: Data(text.utf8))
    }

    static func json(_ object: [String: Any]) -> String {
        guard let data = try? JSONSerialization.data(withJSONObject: object, options: [.sortedKeys]) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    static func jobJSON(_ id: String = "k3v7q2m5x4ab", _ status: String = "RUNNING", _ changes: [String: Any] = [:])
        -> String
    {
        let members: [String: Any] = [
            "job_id": id, "status": status, "container_id": "", "owner": "alice", "script_name": "train.py",
            "hyperparameters": ["depth": "3"], "labels": [:] as [String: String],
            "limits": ["memory_bytes": 2_147_483_648],
            "commit": "c0ffee", "script_sha256": "", "image": "ml-runner", "image_digest": "",
            "secrets": [] as [String],
            "network": "none", "unit": "ml-job@\(id).service", "created_at": time, "revision": 1,
        ]
        return json(members.merging(changes) { $1 })
    }

    static func job(_ id: String = "k3v7q2m5x4ab", _ status: String = "RUNNING", _ changes: [String: Any] = [:]) -> Job
    {
        do {
            return try decode(Job.self, jobJSON(id, status, changes))
        } catch {
            fatalError("\(error)")
        }
    }

    static func event(_ name: String, _ data: String, id: String? = nil) -> String {
        (id.map { "id: \($0)\n" } ?? "") + "event: \(name)\ndata: \(data)\n\n"
    }

    static func line(_ number: Int, _ text: String = "line", source: String = "job") -> String {
        let data = json(["number": number, "time": time, "source": source, "text": text])
        return event("line", data, id: "token-\(number)")
    }
}

/// A folder that is removed at the end.
final class Scratch: Sendable {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("mljob-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func file(_ name: String) -> URL { url.appendingPathComponent(name) }
    var names: [String] { (try? FileManager.default.contentsOfDirectory(atPath: url.path).sorted()) ?? [] }
}

/// Waits until `condition` holds; a test that waits for a minute has failed.
func eventually(
    _ what: Comment = "in time", sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: @Sendable () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while try await !condition() {
        guard ContinuousClock.now < deadline else {
            Issue.record(what, sourceLocation: sourceLocation)
            return
        }
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// The error of that type that `deed` raises; any other outcome fails the test.
func caught<Failure: Error, Value: Sendable>(
    _ type: Failure.Type, isolation: isolated (any Actor)? = #isolation,
    sourceLocation: SourceLocation = #_sourceLocation, _ deed: () async throws -> Value
) async -> Failure? {
    do {
        let value = try await deed()
        Issue.record("returned \(value) and raised nothing", sourceLocation: sourceLocation)
    } catch let failure as Failure {
        return failure
    } catch {
        Issue.record("raised \(error)", sourceLocation: sourceLocation)
    }
    return nil
}

/// The same for what the main actor has.
@MainActor func shown(
    _ what: Comment = "in time", sourceLocation: SourceLocation = #_sourceLocation, _ condition: @MainActor () -> Bool
) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while !condition() {
        guard ContinuousClock.now < deadline else {
            Issue.record(what, sourceLocation: sourceLocation)
            return
        }
        try await Task.sleep(for: .milliseconds(5))
    }
}
