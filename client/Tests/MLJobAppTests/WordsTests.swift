import Foundation
import Testing

@testable import MLJobApp
@testable import MLJobKit

/// What a person reads, hears and tells apart.
@MainActor
struct WordsTests {
    @Test func eachReasonIsExplained() {
        let known =
            Reason.retryable + [.cancelled, .stopped, .artifactQuota, .storageFull, .artifactMissing, .dependency]
        for reason in known { #expect(reason.explanation != reason.rawValue) }
        #expect(Reason(rawValue: "of-a-later-version").explanation == "of-a-later-version")
    }

    @Test func statesDifferInTheirSymbolsAndNotInColourAlone() {
        #expect(Set(JobStatus.known.map(\.symbol)).count == JobStatus.known.count)
        #expect(Set(JobStatus.known.map(\.title)).count == JobStatus.known.count)
    }

    @Test func sweepsHaveWordsAndSymbolsToo() {
        #expect(Set(SweepStatus.known.map(\.symbol)).count == SweepStatus.known.count)
        #expect(Set(SweepStatus.known.map(\.title)).count == SweepStatus.known.count)
        for reason in SweepReason.known { #expect(reason.explanation != reason.rawValue) }
        for strategy in SweepStrategy.known { #expect(strategy.title != strategy.rawValue) }
        for pruner in SweepPruner.known { #expect(pruner.title != pruner.rawValue) }
        #expect(SweepStatus(rawValue: "SUSPENDED").title == "Suspended")
        #expect(SweepReason(rawValue: "of-a-later-version").explanation == "of-a-later-version")
        #expect(Direction.known.map(\.title) == ["Maximize", "Minimize"])
    }

    @Test func schedulesHaveWordsAndSymbolsToo() throws {
        #expect(Set(ScheduleStatus.known.map(\.symbol)).count == ScheduleStatus.known.count)
        for reason in ScheduleReason.known { #expect(reason.explanation != reason.rawValue) }
        for overlap in ScheduleOverlap.known { #expect(overlap.title != overlap.rawValue) }
        func words(_ members: String) throws -> String {
            let json =
                #"{"slot":"2026-01-01T00:00:00.000Z","at":"2026-01-01T00:00:00.000Z","manual":false,\#(members)}"#
            return try JSONDecoder.ofAgent().decode(ScheduleRun.self, from: Data(json.utf8)).words
        }
        #expect(try words(#""status":"SUBMITTED""#) == "Submitted")
        for reason in ScheduleRunReason.known {
            #expect(try !words(#""status":"SKIPPED","reason":"\#(reason)""#).contains(reason.rawValue + "\""))
            #expect(try words(#""status":"SKIPPED","reason":"\#(reason)""#).hasPrefix("Skipped: "))
        }
        #expect(try words(#""status":"SKIPPED","reason":"later""#) == "Skipped: later")
    }

    @Test func theTimesOfAScheduleAreThoseOfItsTimeZone() throws {
        let date = try #require(AgentTime.parse("2026-06-02T00:00:00.000Z"))
        let (rome, york) = (
            NextTimesSection.words(date, in: "Europe/Rome"), NextTimesSection.words(date, in: "America/New_York")
        )
        #expect(rome.contains("2:00") && york.contains("8:00") && rome != york)
        #expect(NextTimesSection.words(date, in: "Mars/Olympus").contains("2026"))
    }

    @Test func inputsSayWhereTheyComeFrom() throws {
        func words(_ members: String) throws -> String {
            let json = #"{"job_id":"k3v7q2m5x4ab","path":"m"\#(members)}"#
            return try JSONDecoder.ofAgent().decode(JobInput.self, from: Data(json.utf8)).words
        }
        #expect(try words("") == "Of job k3v7q2m5x4ab, not settled until that job has ended")
        let named = #","size":2048,"sha256":"00","model":"churn","alias":"champion""#
        #expect(try words(named) == "Of job k3v7q2m5x4ab, as churn@champion, 2 KiB")
    }

    @Test func aStateOfALaterVersionHasWordsToo() {
        #expect(JobStatus(rawValue: "SUSPENDED").title == "Suspended")
    }

    @Test func placesHaveNamesAndSymbolsOfTheirOwn() {
        #expect(Set(Place.all.map(\.title)).count == Place.all.count)
        #expect(Set(Place.all.map(\.symbol)).count == Place.all.count)
        #expect(Place.all.prefix(10).compactMap(\.key) == Array("1234567890".prefix(Place.all.count)))
    }

    @Test func eachTroubleHasASymbol() {
        for kind in Trouble.Kind.allCases { #expect(!Trouble(kind, "It failed.", advice: "").symbol.isEmpty) }
    }

    @Test func troubleIsToldWithItsAdviceAndItsFields() {
        let field = FieldProblem(field: "limits.cpus", message: "must be above 0")
        let trouble = Trouble(.invalid, "The host refused it.", advice: "Correct it.", fields: [field])
        #expect(trouble.sentences == "The host refused it.\nCorrect it.\nlimits.cpus: must be above 0")
    }

    @Test(arguments: [(0.0, "0s"), (42, "42s"), (3_661, "1h 1m 1s")])
    func durations(seconds: Double, words: String) {
        let told = DurationCell.words(seconds).filter { !$0.isWhitespace && $0 != "," }
        #expect(told == words.filter { !$0.isWhitespace })
    }

    @Test(arguments: [
        ("image/png", "photo"), ("text/csv", "doc.text"), ("application/json", "curlybraces"), ("model/x", "doc"),
        ("", "doc"),
    ])
    func kindsOfFiles(mediaType: String, symbol: String) {
        #expect(ArtifactNameCell.symbol(of: mediaType) == symbol)
    }

    @Test func scriptsAreFoundByNameAndDescription() {
        let script = Script(name: "train_churn.py", description: "Trees on the churn view")
        #expect(script.matches(""))
        #expect(script.matches("CHURN"))
        #expect(script.matches("trees"))
        #expect(!script.matches("ltv"))
    }
}
