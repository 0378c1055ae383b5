import Foundation
import Testing

@testable import MLJobKit

/// Who may read something, and the form that changes it.
@MainActor @Suite(.timeLimit(.minutes(5))) struct SharingTests {
    nonisolated static func job(_ users: [String], everybody: Bool = false) -> ScriptedTransport.Answer {
        let readers: [String: Any] = ["users": users, "everybody": everybody]
        return .json(Sample.jobJSON("a", "COMPLETED", ["readers": readers]))
    }

    @Test func readersAreGivenAndTakenAway() async throws {
        let transport = ScriptedTransport(
            Self.job(["bob", "dora"]), Self.job(["dora", "eve"], everybody: true))
        let sharing = SharingModel(.job("a"), agent: Agent(transport))
        #expect(!sharing.isLoaded && sharing.id.id == .job("a"))
        await sharing.begin()
        #expect(sharing.users.map(\.name) == ["bob", "dora"] && sharing.isLoaded && !sharing.isChanged)
        #expect(sharing.readers?.words == "bob and dora")
        sharing.users.removeFirst()
        sharing.users += [SharingModel.User(), SharingModel.User(name: "eve")]
        sharing.everybody = true
        #expect(sharing.isChanged && sharing.isValid)
        try await sharing.save()
        #expect(transport.requests.map(\.method) == ["GET", "PUT"])
        #expect(transport.requests.map(\.target) == ["/jobs/a", "/jobs/a/readers"])
        let body = try JSONDecoder().decode(ReadersRequest.self, from: try #require(transport.requests[1].body))
        #expect(body == ReadersRequest(users: ["dora", "eve"], everybody: true), "an empty row is nobody")
        #expect(sharing.readers?.words == "everybody" && !sharing.isChanged)
    }

    @Test func whatTheHostRefusesStandsBesideItsRowAndNothingIsLost() async throws {
        let transport = ScriptedTransport(
            Self.job([]),
            .problem(
                422, "invalid-request", "The request is not valid.",
                fields: ["users.1": "is odd", "users": "are many", "everybody": "is no truth"]))
        let sharing = SharingModel(.job("a"), agent: Agent(transport))
        await sharing.begin()
        #expect(sharing.readers?.words == nil && sharing.isLoaded)
        sharing.users = [SharingModel.User(name: "bob"), SharingModel.User(), SharingModel.User(name: "dora")]
        let trouble = await caught(Trouble.self) { try await sharing.save() }
        #expect(trouble?.title == "The request is not valid." && trouble?.fields.count == 3)
        #expect(sharing.users.map(\.name) == ["bob", "", "dora"])
        #expect(sharing.users.map(\.objection) == [nil, nil, "is odd"])
        #expect(sharing.objections == ["users": "are many", "everybody": "is no truth"])
        #expect(sharing.isValid, "one may try again")
        sharing.users[2].name = "eve"
        #expect(sharing.users[2].objection == nil)
    }

    @Test func namesAndTheirNumberAreChecked() {
        let sharing = SharingModel(.sweep("s"), agent: Agent(ScriptedTransport(.json("{}"))))
        sharing.users = [SharingModel.User(name: "Bob")]
        #expect(sharing.users[0].objection?.hasPrefix("must be a user's name") == true && !sharing.isValid)
        sharing.users = (0..<50).map { SharingModel.User(name: "u\($0)") } + [SharingModel.User()]
        #expect(sharing.isValid && sharing.objections.isEmpty)
        sharing.users.append(SharingModel.User(name: "one-more"))
        #expect(!sharing.isValid && sharing.objections == ["users": "must be 50 at most"])
    }

    @Test func failuresAreSaid() async {
        let sharing = SharingModel(
            .model("churn"), agent: Agent(ScriptedTransport(.problem(404, "model-not-found", "No such model."))))
        await sharing.begin()
        #expect(sharing.trouble?.title == "No such model." && !sharing.isLoaded && sharing.users.isEmpty)
    }

    @Test func sweepsAndModelsAreSharedToo() async throws {
        let schemas = try ModelTests.schemas()
        func answer(_ schema: String) throws -> ScriptedTransport.Answer {
            .json(Sample.json(try #require(schemas[schema]?["full"] as? [String: Any])))
        }
        let (sweep, model) = (try answer("Sweep"), try answer("NamedModel"))
        let transport = ScriptedTransport { request, _ in request.target.hasPrefix("/sweeps") ? sweep : model }
        for (thing, path) in [(SharedThing.sweep("s"), "/sweeps/s"), (.model("m"), "/models/m")] {
            let sharing = SharingModel(thing, agent: Agent(transport))
            await sharing.load()
            try await sharing.save()
            #expect(sharing.readers?.everybody == true)
            #expect(transport.requests.suffix(2).map(\.target) == [path, "\(path)/readers"])
        }
    }
}
