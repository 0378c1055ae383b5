import Foundation
import MLJobKit
import Testing

@testable import MLJobApp

/// What a notification says.
struct NoticeTests {
    private let host = HostConfiguration(
        name: "ml.example.net", address: URL(string: "https://ml.example.net:8443")!, user: "alice", identity: "x",
        certificate: Data(), authorities: [])

    private func job(_ members: String) throws -> Job {
        let json = """
            {"job_id": "k3v7q2m5x4ab", "container_id": "", "owner": "alice", "script_name": "train.py",
             "hyperparameters": {}, "created_at": "2026-01-01T00:00:00.000Z", \(members)}
            """
        return try JSONDecoder.ofAgent().decode(Job.self, from: Data(json.utf8))
    }

    @Test func aJobThatRunsIsNoNews() throws {
        #expect(Notice(try job(#""status": "RUNNING""#), host) == nil)
    }

    @Test func successIsQuiet() throws {
        let notice = try #require(Notice(try job(#""status": "COMPLETED", "name": "winter churn""#), host))
        #expect(notice.title == "winter churn")
        #expect(notice.words == "Completed")
        #expect(!notice.isLoud)
    }

    @Test func failureSaysWhy() throws {
        let failed = try job(#""status": "FAILED", "reason": "oom-kill", "message": "It had 2 GiB.""#)
        let notice = try #require(Notice(failed, host))
        #expect(notice.words == "Ran out of memory. It had 2 GiB.")
        #expect(notice.isLoud)
    }

    @Test func jobsOfAScriptAreOneGroupAndEachHasItsOwnName() throws {
        let one = try #require(Notice(try job(#""status": "COMPLETED""#), host))
        #expect(one.group == "\(host.id)/train.py")
        #expect(one.address == JobAddress(host: host.id, job: "k3v7q2m5x4ab"))
    }
}
