import Foundation
import Testing

@testable import MLJobKit

@MainActor @Suite(.timeLimit(.minutes(5))) struct ModelListTests {
    nonisolated static func alias(_ name: String, _ number: Int) -> [String: Any] {
        [
            "alias": name, "number": number, "version": "v\(number)", "job_id": "job\(number)", "path": "m.joblib",
            "size": 1, "sha256": "00", "media_type": "x/y", "moved_by": "alice", "moved_at": Sample.time,
        ]
    }

    nonisolated static func model(_ name: String, _ aliases: [[String: Any]]) -> [String: Any] {
        [
            "model": name, "owner": "alice", "readers": ["users": [] as [String], "everybody": false] as [String: Any],
            "aliases": aliases, "created_at": Sample.time, "revision": 1,
        ]
    }

    let champion = ModelList.AliasAddress(model: "churn", alias: "champion")

    @Test func modelsComePageByPageInTheOrderOfTheirNames() async {
        let transport = ScriptedTransport(
            .json(Sample.json(["models": [Self.model("ltv", [])], "next_cursor": "9"])),
            .json(Sample.json(["models": [Self.model("churn", [Self.alias("champion", 1)])]])))
        let list = ModelList(agent: Agent(transport))
        await list.load()
        #expect(list.models.map(\.id) == ["churn", "ltv"] && list.isLoaded && list.trouble == nil)
        #expect(transport.requests.map(\.target) == ["/models?limit=200", "/models?cursor=9&limit=200"])
        #expect(list.alias(at: champion)?.version == "v1" && champion.id == champion)
        #expect(list.alias(at: .init(model: "churn", alias: "none")) == nil)
    }

    @Test func anAliasMovesFromWhatIsShownAlone() async throws {
        let transport = ScriptedTransport { request, _ in
            switch (request.method, request.target) {
            case ("PUT", _): .json(Sample.json(Self.alias("champion", 2)))
            case (_, "/models/churn/aliases/champion/history"):
                .json(Sample.json(["moves": [Self.alias("champion", 2), Self.alias("champion", 1)]]))
            default: .json(Sample.json(["models": [Self.model("churn", [Self.alias("champion", 1)])]]))
            }
        }
        let list = ModelList(agent: Agent(transport))
        try await list.move(champion, to: AliasTarget(jobID: "a", path: "p"))
        await list.loadHistory(of: champion)
        try await list.move(champion, to: AliasTarget(jobID: "b", path: "p"))
        let puts = transport.requests.filter { $0.method == "PUT" }
        #expect(puts.map { $0.headers["If-None-Match"] } == ["*", nil])
        #expect(puts.map { $0.headers["If-Match"] } == [nil, "\"v1\""])
        #expect(puts.allSatisfy { $0.target == "/models/churn/aliases/champion" })
        #expect(list.histories[champion]?.map(\.number) == [2, 1])
        #expect(transport.requests.count { $0.target.hasSuffix("/history") } == 2, "and anew after the move")
    }

    @Test func whereSomebodyElseWasFasterTheListIsLoadedAnew() async {
        let transport = ScriptedTransport { request, _ in
            request.method == "PUT"
                ? .problem(412, "precondition-failed", "Somebody else was faster.")
                : .json(Sample.json(["models": [Self.model("churn", [Self.alias("champion", 3)])]]))
        }
        let list = ModelList(agent: Agent(transport))
        let target = AliasTarget(jobID: "a", path: "p")
        let trouble = await caught(Trouble.self) { try await list.move(champion, to: target) }
        #expect(trouble?.title == "Somebody else was faster." && list.alias(at: champion)?.number == 3)
    }

    @Test func failuresAreSaid() async {
        let list = ModelList(
            agent: Agent(ScriptedTransport(.problem(404, "no-such-route", "There are no models here."))))
        await list.load()
        #expect(list.trouble?.title == "There are no models here." && !list.isLoaded)
        await list.loadHistory(of: champion)
        #expect(list.histories.isEmpty && list.trouble != nil)
    }

    @Test func namesAreChecked() {
        #expect(Set(AliasForm().objections.keys) == ["model"] && AliasForm(model: "churn").objections.isEmpty)
        var form = AliasForm(model: "Churn")
        form.alias = "-x"
        #expect(Set(form.objections.keys) == ["model", "alias"])
        #expect(AliasForm(model: "churn").address == champion)
    }
}
