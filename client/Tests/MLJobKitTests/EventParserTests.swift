import Foundation
import Testing

@testable import MLJobKit

@Suite(.timeLimit(.minutes(5))) struct EventParserTests {
    func parse(_ text: String) throws -> [ServerSentEvent] {
        var parser = EventParser()
        return try parser.feed(Data(text.utf8))
    }

    func event(_ data: String, name: String = "message", id: String? = nil) -> ServerSentEvent {
        ServerSentEvent(id: id, name: name, data: Data(data.utf8))
    }

    @Test func wholeEvents() throws {
        let text = "id: 1:s=6f0;i=2a1\nevent: line\ndata: {\"number\":1}\n\n: comment\n\ndata: x\ndata: y\n\n"
        #expect(try parse(text) == [event(#"{"number":1}"#, name: "line", id: "1:s=6f0;i=2a1"), event("x\ny")])
    }

    @Test func anEventThatIsCutOffIsNone() throws {
        #expect(try parse("id: 7\nevent: line\ndata: {}\n").isEmpty)
    }

    @Test func everyCutGivesTheSameEvents() throws {
        let text =
            "\u{feff}id: 1\r\nevent: line\r\ndata: größer\r\n\r\ndata:a\ndata\n\nretry: 5\rdata: b\r\rdata: c\n\n"
        let expected = [event("größer", name: "line", id: "1"), event("a\n"), event("b"), event("c")]
        #expect(try parse(text) == expected)
        let bytes = Array(text.utf8)
        for cut in 0...bytes.count {
            var parser = EventParser()
            let found = try parser.feed(Data(bytes[..<cut])) + parser.feed(Data(bytes[cut...]))
            #expect(found == expected, "cut at \(cut)")
        }
        var parser = EventParser()
        #expect(try bytes.flatMap { try parser.feed(Data([$0])) } == expected)
    }

    @Test func emptyDataIsAnEvent() throws {
        #expect(try parse("event: heartbeat\ndata\n\n") == [event("", name: "heartbeat")])
    }

    @Test func withoutDataThereIsNoEvent() throws { #expect(try parse("id: 4\nevent: line\n\n").isEmpty) }

    @Test func anIdWithANulIsIgnored() throws { #expect(try parse("id: a\0b\ndata: x\n\n") == [event("x")]) }

    @Test func anEventWithoutEndIsRefused() throws {
        var parser = EventParser()
        let piece = Data(repeating: 0x78, count: 1 << 20)
        #expect(throws: TransportError.tooLarge(EventParser.maximum)) {
            for _ in 0...8 { _ = try parser.feed(piece) }
        }
    }

    @Test func aLineOf48KiBArrives() throws {
        let text = String(repeating: "é\u{1}", count: 16 << 10)
        let found = try parse(Sample.line(1, text))
        #expect(LineScanner.line(try #require(found.first).data)?.text == text)
    }
}

@Suite(.timeLimit(.minutes(5))) struct LineScannerTests {
    static let plain = #"{"number":12,"time":"2026-01-01T00:00:15.300Z","source":"job","text":"accuracy 0.91"}"#

    func decoded(_ text: String) throws -> LogLine { try Sample.decode(LogLine.self, text) }

    @Test(arguments: [
        plain,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"system","text":"","continued":true}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","text":"a\"b\\c\/d\b\f\n\r\t","continued":false}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","text":"\ufffd!","base64":"6SE=","continued":true}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","stream":"stderr","text":"x"}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","stream":"later","text":"x"}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"later","text":"\u00e9\ud83d\ude00 日本"}"#,
    ]) func readsAsTheDecoderDoes(_ text: String) throws {
        let expected = try decoded(text)
        #expect(LineScanner.line(Data(text.utf8)) == expected)
    }

    @Test(arguments: [
        #"{"number":1,"time":"2026-01-01T00:00:00Z","source":"job","text":"x"}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","text":"x","later":{}}"#,
        #"{ "number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","text":"x"}"#,
    ]) func leavesTheRestToTheDecoder(_ text: String) throws {
        #expect(LineScanner.line(Data(text.utf8)) == nil)
        #expect(try decoded(text).text == "x")
    }

    @Test(arguments: [
        "", "{", "[]", "null", #"{"number":1}"#, #"{"number":"1","text":"x"}"#, plain + "x", String(plain.dropLast()),
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","text":"\ud800"}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","text":"\x"}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","text":"x","continued":1}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","stream":2,"text":"x"}"#,
        #"{"number":1,"time":"2026-01-01T00:00:00.000Z","source":"job","text":"x","base64":"6"}"#,
    ]) func takesNothingElse(_ text: String) { #expect(LineScanner.line(Data(text.utf8)) == nil) }

    @Test func everyPrefixIsRefused() {
        let bytes = Array(#"{"number":12,"time":"2026-01-01T00:00:15.300Z","source":"job","text":"a\u00e9\n"}"#.utf8)
        for count in 0..<bytes.count { #expect(LineScanner.line(Data(bytes[..<count])) == nil, "\(count)") }
    }

    @Test func randomTextsAgree() throws {
        var random = SystemRandomNumberGenerator()
        let alphabet: [Unicode.Scalar] = ["a", "\"", "\\", "\n", "\u{1}", "é", "日", "😀", "/", "\u{7f}", "\u{2028}"]
        for _ in 0..<500 {
            var text = ""
            for _ in 0..<Int.random(in: 0..<20, using: &random) {
                text.unicodeScalars.append(alphabet.randomElement(using: &random) ?? "a")
            }
            var parser = EventParser()
            let event = try #require(try parser.feed(Data(Sample.line(3, text).utf8)).first)
            let line = try LineScanner.line(event.data) ?? JSONDecoder.ofAgent().decode(LogLine.self, from: event.data)
            #expect(line.text == text)
        }
    }
}
