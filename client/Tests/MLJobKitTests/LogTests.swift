import Foundation
import Testing

@testable import MLJobKit

@Suite(.timeLimit(.minutes(5))) struct LogStoreTests {
    func line(
        _ number: Int, _ text: String, _ source: LogSource = .job, stream: LogOutput? = nil, continued: Bool = false
    ) -> LogLine {
        LogLine(
            number: number, time: Date(timeIntervalSince1970: 1_767_225_600 + Double(number) / 1000), source: source,
            stream: stream, text: text, continued: continued)
    }

    @Test func rowsComeBackAsTheyWere() {
        var store = LogStore()
        let lines = [
            line(1, "größer 😀"), line(2, "", .system), line(3, "x", continued: true),
            line(4, "y", LogSource(rawValue: "later")),
            line(5, "out", stream: .stdout), line(6, "err", stream: .stderr, continued: true),
        ]
        for line in lines { store.append(line) }
        let gap = LogGap(after: 6, count: 7, time: Date(timeIntervalSince1970: 1_767_225_601))
        store.append(gap)
        store.append(LogGap(after: 6, time: gap.time))
        #expect(store.rows == 0..<8 && store.lastNumber == 6)
        for (id, line) in lines.enumerated() { #expect(store[id] == LogRow(id: id, content: .line(line))) }
        #expect(store[6].content == .gap(gap) && store[6].text == "7 lines are missing here")
        #expect(store[7].text == "Lines may be missing here")
        #expect(LogGap(after: 1, count: 1, time: gap.time).sentence == "1 line is missing here")
        #expect(LogGap(after: 1, cause: "removed", time: gap.time).sentence == "Lines are missing here")
        #expect(LogGap(after: 1, cause: "not-closed", time: gap.time).sentence == "Lines may be missing here")
    }

    @Test func manyBlocksAreOneLog() {
        var store = LogStore()
        for number in 1...50_000 { store.append(line(number, "line \(number)")) }
        #expect(store.blocks.count > 3 && store.rows.count == 50_000)
        for id in [0, 1, 8191, 8192, 20_000, 49_999] { #expect(store[id].text == "line \(id + 1)") }
    }

    @Test func theOldestAreGivenUp() {
        var store = LogStore(limit: 1 << 20)
        let text = String(repeating: "x", count: 100)
        for number in 1...30_000 { store.append(line(number, text)) }
        #expect(store.size <= 1 << 20 && store.trimmed > 0 && store.end == 30_000)
        #expect(store.rows.count + store.trimmed == 30_000)
        guard case .line(let first) = store[store.trimmed].content else { return #expect(Bool(false)) }
        #expect(first.number == store.trimmed + 1)
    }

    @Test func timesThatGoBackOrFarAheadAreKept() {
        var store = LogStore()
        let times = [1_767_225_600.0, 1_767_225_000, 1_775_225_600].map { Date(timeIntervalSince1970: $0) }
        for (number, time) in times.enumerated() { store.append(LogLine(number: number, time: time, text: "")) }
        for (id, time) in times.enumerated() {
            guard case .line(let line) = store[id].content else { continue }
            #expect(line.time == time)
        }
    }

    @Test func aLineLargerThanABlockIsKept() {
        var store = LogStore(limit: 1 << 20)
        let large = String(repeating: "é", count: 400 << 10)
        store.append(line(1, large))
        store.append(line(2, "next"))
        #expect(store[0].content == .line(line(1, large)) && store[1].text == "next")
    }
}

@Suite(.timeLimit(.minutes(5))) struct LogSearchTests {
    func store(_ texts: [String]) -> LogStore {
        var store = LogStore()
        for (at, text) in texts.enumerated() { store.append(LogLine(number: at + 1, time: Date(), text: text)) }
        return store
    }

    func rows(_ text: String, in texts: [String], from first: Int = 0) -> [Int]? {
        LogSearch(text)?.rows(in: store(texts), from: first)
    }

    @Test func caseDoesNotMatter() {
        let texts = ["Accuracy 0.9", "loss", "ACCURACY", "accurac", "y"]
        #expect(rows("accuracy", in: texts) == [0, 2])
        #expect(rows("AcCuRaCy", in: texts, from: 1) == [2])
        #expect(rows("", in: texts) == nil)
    }

    @Test func beyondASCIIToo() {
        #expect(rows("GRÖSSER", in: ["größer", "grösser", "Änderung", "x"]) == [1])
        #expect(rows("änderung", in: ["Änderung", "aenderung", "ä"]) == [0])
        #expect(rows("ß", in: ["loss", "groß", "ẞ"]) == [1])
        #expect(rows("ⱥ", in: ["Ⱥ", "ⱥ"]) == [0, 1], "its two cases differ in length")
    }

    @Test func matchesDoNotSpanRows() { #expect(rows("ab", in: ["a", "b", "ab"]) == [2]) }

    @Test func whatIsShownIsSearched() {
        let coloured = "\u{1b}[31mERR\u{1b}[0mOR"
        #expect(rows("error", in: [coloured, "31"]) == [0])
        #expect(rows("31", in: [coloured, "31"]) == [1])
        #expect(rows("10 %", in: ["10 %\r20 %\r30 %"]) == [])
    }

    @Test func gapsAreNotSearched() {
        var store = LogStore()
        store.append(LogGap(after: 0, count: 3, time: Date()))
        #expect(LogSearch("lines")?.rows(in: store) == [])
        #expect(LogSearch("ü")?.rows(in: store) == [])
    }

    @Test func aSearchCanBeGivenUp() {
        #expect(LogSearch("a")?.rows(in: store(["a"]), isCancelled: { true }) == [])
    }

    @Test func agreesWithFoundation() throws {
        var random = SystemRandomNumberGenerator()
        let texts = (0..<2000).map { _ in
            String((0..<Int.random(in: 0..<12, using: &random)).map { _ in "abAB".randomElement() ?? "a" })
        }
        for needle in ["a", "ab", "BBA", "abab"] {
            let expected = texts.indices.filter { texts[$0].range(of: needle, options: .caseInsensitive) != nil }
            #expect(rows(needle, in: texts) == expected)
        }
    }
}

@Suite(.timeLimit(.minutes(5))) struct ANSITextTests {
    func style(_ change: (inout ANSIStyle) -> Void) -> ANSIStyle {
        var style = ANSIStyle()
        change(&style)
        return style
    }

    @Test func plainTextIsOneRun() {
        #expect(ANSIText.spans("größer\tx") == [ANSISpan(text: "größer\tx", style: ANSIStyle())])
        #expect(ANSIText.spans("").isEmpty && ANSIText.plain("x") == "x")
    }

    @Test func coloursMakeRuns() {
        let text = "a\u{1b}[1;31mb\u{1b}[0mc\u{1b}[38;5;200md\u{1b}[48;2;1;2;3me\u{1b}[mf"
        #expect(
            ANSIText.spans(text) == [
                ANSISpan(text: "a", style: ANSIStyle()),
                ANSISpan(text: "b", style: style { ($0.isBold, $0.foreground) = (true, .indexed(1)) }),
                ANSISpan(text: "c", style: ANSIStyle()),
                ANSISpan(text: "d", style: style { $0.foreground = .indexed(200) }),
                ANSISpan(
                    text: "e",
                    style: style {
                        $0.foreground = .indexed(200)
                        $0.background = .rgb(red: 1, green: 2, blue: 3)
                    }),
                ANSISpan(text: "f", style: ANSIStyle()),
            ])
    }

    @Test(
        arguments: [
            (1, 22, \ANSIStyle.isBold), (2, 22, \.isDim), (3, 23, \.isItalic), (4, 24, \.isUnderlined),
            (7, 27, \.isInverse),
            (9, 29, \.isStruckThrough),
        ] as [(Int, Int, KeyPath<ANSIStyle, Bool> & Sendable)])
    func attributesAreSetAndReset(_ on: Int, _ off: Int, _ attribute: KeyPath<ANSIStyle, Bool> & Sendable) {
        let spans = ANSIText.spans("\u{1b}[\(on)ma\u{1b}[\(off)mb")
        #expect(spans.map { $0.style[keyPath: attribute] } == [true, false])
    }

    @Test func allSixteenColours() {
        for code in 0..<8 {
            let spans = ANSIText.spans(
                "\u{1b}[\(30 + code);\(100 + code)ma\u{1b}[\(90 + code);\(40 + code)mb\u{1b}[39;49mc")
            #expect(spans.map(\.style.foreground) == [.indexed(UInt8(code)), .indexed(UInt8(code + 8)), nil])
            #expect(spans.map(\.style.background) == [.indexed(UInt8(code + 8)), .indexed(UInt8(code)), nil])
        }
    }

    @Test func theLastDrawingOfABarIsShown() {
        #expect(ANSIText.plain("10 %\r20 %\r30 %") == "30 %")
        #expect(ANSIText.plain("done\r") == "done")
        #expect(ANSIText.plain("\u{1b}[2K\r50 %\u{1b}[K") == "50 %")
    }

    @Test func whatCouldDriveATerminalIsWrittenOut() {
        #expect(ANSIText.plain("\u{1b}[2J\u{7}\u{1b}]0;t\u{7}\u{7f}") == "^[[2J^G^[]0;t^G^?")
        #expect(ANSIText.plain("a\u{202e}b\u{9b}c") == "a\\u202eb\\u009bc")
        #expect(ANSIText.plain("\u{1b}[31") == "^[[31" && ANSIText.plain("\u{1b}") == "^[")
    }

    @Test(arguments: [
        "\u{1b}[38m", "\u{1b}[38;5m", "\u{1b}[38;5;999m", "\u{1b}[38;2;1m", "\u{1b}[;;m",
        "\u{1b}[12345678901234567890m",
    ])
    func oddSequencesDoNoHarm(_ text: String) { #expect(ANSIText.plain(text + "x") == "x") }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct LogModelTests {
    nonisolated static let end = Sample.event("end", Sample.jobJSON("a", "COMPLETED"))

    func model(_ transport: ScriptedTransport, limit: Int = 1 << 24) -> LogModel {
        LogModel(agent: Agent(transport), job: "a", limit: limit, backoff: .quick)
    }

    func model(_ lines: [String]) -> LogModel {
        let model = model(ScriptedTransport(.open()))
        model.append(lines.enumerated().map { .line(LogLine(number: $0 + 1, time: Date(), text: $1)) })
        return model
    }

    @Test func followsToTheEnd() async {
        let gap = Sample.event("gap", #"{"after":2,"count":3,"time":"\#(Sample.time)"}"#)
        let transport = ScriptedTransport(.cut(Sample.line(1), Sample.line(2)), .whole(gap, Sample.line(3), Self.end))
        let model = model(transport)
        await model.run()
        #expect(model.isComplete && model.connection == .connected && model.gaps == 1 && model.count == 4)
        #expect((0..<4).map { model.row(at: $0).text } == ["line", "line", "3 lines are missing here", "line"])
        await model.run()
        #expect(transport.requests.count == 2, "a whole log is not asked for again")
    }

    @Test func aSecondCallGoesOnWhereTheFirstOneWas() async throws {
        let transport = ScriptedTransport { request, _ in
            request.headers["Last-Event-ID"] == nil ? .open(Sample.line(1)) : .whole(Sample.line(2), Self.end)
        }
        let model = model(transport)
        let first = Task { await model.run() }
        try await shown { model.count == 1 }
        first.cancel()
        await first.value
        #expect(model.connection == .idle)
        await model.run()
        #expect(model.count == 2 && model.isComplete)
        #expect(transport.requests.last?.headers["Last-Event-ID"] == "token-1")
    }

    @Test func aRunWaitsForTheOneThatWasCancelled() async throws {
        let transport = ScriptedTransport { request, _ in
            request.headers["Last-Event-ID"] == nil ? .open(Sample.line(1)) : .whole(Sample.line(2), Self.end)
        }
        let model = model(transport)
        let first = Task { await model.run() }
        try await shown { model.count == 1 }
        first.cancel()
        await model.run()
        #expect(model.count == 2 && model.isComplete)
    }

    @Test func aLossIsShownAndPasses() async throws {
        let transport = ScriptedTransport { _, count in
            if count == 0 { throw TransportError.unreachable("down") }
            return .open(Sample.line(1))
        }
        let agent = Agent(transport)
        let model = LogModel(agent: agent, job: "a", backoff: Backoff(first: 3600, most: 3600))
        let run = Task { await model.run() }
        try await shown { model.connection.trouble?.kind == .unreachable }
        agent.streams.wake()
        try await shown { model.connection.isConnected && model.count == 1 }
        run.cancel()
        await run.value
    }

    @Test func aRefusalIsShown() async {
        let model = model(ScriptedTransport(.problem(410, "removed-by-retention", "Removed.")))
        await model.run()
        #expect(model.connection.trouble?.kind == .gone && !model.isComplete)
    }

    @Test func aBurstArrivesInBatches() async {
        let lines = (1...4000).map { Sample.line($0) }.joined()
        let model = model(ScriptedTransport(.whole(lines, Self.end)))
        await model.run()
        #expect(model.count == 4000 && model.version < 100)
    }

    @Test func marksAreHidden() {
        let model = model(["::progress {\"done\":1}", "x", "::metric {}", "::other {}"])
        #expect(model.count == 2 && model.row(at: 0).text == "x")
        model.filter.showsMarks = true
        #expect(model.count == 4)
        model.append([.line(LogLine(number: 5, time: Date(), source: .system, text: "Started."))])
        #expect(model.count == 5)
        model.filter.showsSystem = false
        #expect(model.count == 4 && model.place(of: 4) == nil && model.place(of: 3) == 3)
    }

    @Test func searchFindsOldAndNew() async {
        let model = model(["one", "two", "One more"])
        model.search = "one"
        #expect(model.isSearching)
        model.append([.line(LogLine(number: 4, time: Date(), text: "and one"))])
        await model.searched()
        #expect(model.matches == [0, 2, 3] && !model.isSearching)
        #expect(model.currentMatch == 2, "the last match is the nearest to the end")
        #expect(model.goToMatch(forward: true) == 0 && !model.isFollowing)
        #expect(model.goToMatch(forward: false) == 3 && model.goToMatch(forward: false) == 2)
        model.filter.onlyMatches = true
        #expect(model.count == 3)
        model.append([
            .line(LogLine(number: 5, time: Date(), text: "no")), .line(LogLine(number: 6, time: Date(), text: "ONE")),
        ])
        #expect(model.count == 4 && model.row(at: 3).text == "ONE")
        model.search = ""
        await model.searched()
        #expect(model.matches.isEmpty && model.goToMatch(forward: true) == nil && model.count == 6)
    }

    @Test func theOldestRowsLeaveSearchAndFilter() async {
        let model = LogModel(agent: Agent(ScriptedTransport(.open())), job: "a", limit: 1 << 20)
        let text = String(repeating: "x", count: 100)
        func rows(_ range: Range<Int>) -> [LogRow.Content] {
            range.map { .line(LogLine(number: $0, time: Date(timeIntervalSince1970: 0), text: text)) }
        }
        model.append(rows(0..<5000))
        model.search = "xx"
        await model.searched()
        #expect(model.matches.count == 5000)
        model.append(rows(5000..<20_000))
        #expect(model.trimmed > 0 && model.count == 20_000 - model.trimmed && model.matches.count == model.count)
        #expect(
            model.matches.first == model.trimmed && model.place(of: model.trimmed) == 0 && model.place(of: 0) == nil)
    }

    @Test func textsAreCopiedAsTheyAreShown() {
        let model = model(["\u{1b}[1ma\u{1b}[0m", "b", "c"])
        #expect(model.text(of: 0..<2) == "a\nb" && model.text(of: [2, 9]) == "c")
    }

    @Test func theWholeLogIsSaved() async throws {
        let scratch = try Scratch()
        let transport = ScriptedTransport(.init(body: [Data("raw \u{1b}[1m\n".utf8), Data([0xff])]))
        let file = scratch.file("log.txt")
        try Data("old".utf8).write(to: file)
        try await model(transport).save(to: file)
        #expect(try Data(contentsOf: file) == Data("raw \u{1b}[1m\n".utf8) + [0xff])
        #expect(scratch.names == ["log.txt"] && transport.requests.first?.headers["Accept"] == "text/plain")
    }

    @Test func aLogThatBreaksOffIsNotSaved() async throws {
        let scratch = try Scratch()
        let model = model(ScriptedTransport(.cut("half")))
        let trouble = await caught(Trouble.self) { try await model.save(to: scratch.file("log.txt")) }
        #expect(trouble?.kind == .connectionLost && scratch.names.isEmpty)
        let nowhere = scratch.file("missing/log.txt")
        let refused = self.model(ScriptedTransport(.whole("x")))
        #expect(await caught(Trouble.self) { try await refused.save(to: nowhere) }?.kind == .cannotWrite)
    }
}
