import Foundation

/// Reads a `line` event's JSON without Foundation's decoder, which takes ten times as long.
enum LineScanner {
    /// Nil for whatever is not the plain object that the agent writes: the decoder then has the last word.
    static func line(_ data: Data) -> LogLine? {
        data.withUnsafeBytes { bytes in
            var scanner = Scanner(bytes: bytes)
            return scanner.line()
        }
    }

    private struct Scanner {
        let bytes: UnsafeRawBufferPointer
        var at = 0

        mutating func line() -> LogLine? {
            var (number, time, source, text, continued) = (Int?.none, Int?.none, String?.none, String?.none, false)
            var (stream, base64) = (LogOutput?.none, Data?.none)
            guard take("{") else { return nil }
            repeat {
                guard let name = string(), take(":") else { return nil }
                switch name {
                case "number": number = integer()
                case "time": time = string().flatMap(AgentTime.milliseconds)
                case "source": source = string()
                case "stream":
                    guard let name = string() else { return nil }
                    stream = LogOutput(rawValue: name)
                case "text": text = string()
                case "base64":
                    guard let value = string().flatMap({ Data(base64Encoded: $0) }) else { return nil }
                    base64 = value
                case "continued":
                    guard let value = boolean() else { return nil }
                    continued = value
                default: return nil
                }
            } while take(",")
            guard take("}"), at == bytes.count, let number, let time, let source, let text else { return nil }
            return LogLine(
                number: number, time: Date(timeIntervalSince1970: Double(time) / 1000),
                source: source == "job" ? .job : LogSource(rawValue: source), stream: stream, text: text,
                base64: base64, continued: continued)
        }

        private mutating func take(_ character: Unicode.Scalar) -> Bool {
            guard at < bytes.count, bytes[at] == UInt8(ascii: character) else { return false }
            at += 1
            return true
        }

        private mutating func integer() -> Int? {
            var value = 0
            let start = at
            while at < bytes.count, bytes[at] >= 0x30, bytes[at] <= 0x39, at - start < 18 {
                value = value * 10 + Int(bytes[at] - 0x30)
                at += 1
            }
            return at > start ? value : nil
        }

        private mutating func boolean() -> Bool? {
            for (word, value) in [("true", true), ("false", false)]
            where bytes[at...].starts(with: word.utf8) {
                at += word.utf8.count
                return value
            }
            return nil
        }

        private mutating func string() -> String? {
            guard take("\"") else { return nil }
            let start = at
            while at < bytes.count, bytes[at] != 0x22, bytes[at] != 0x5c { at += 1 }
            guard at < bytes.count else { return nil }
            let plain = bytes[start..<at]
            if take("\"") { return String(validating: plain, as: UTF8.self) }
            var unescaped = Array(plain)
            return escaped(&unescaped) ? String(validating: unescaped, as: UTF8.self) : nil
        }

        /// The rest of a string with escapes; false where it is none.
        private mutating func escaped(_ text: inout [UInt8]) -> Bool {
            while at < bytes.count {
                let byte = bytes[at]
                at += 1
                if byte == 0x22 { return true }
                guard byte == 0x5c else {
                    text.append(byte)
                    continue
                }
                guard at < bytes.count else { return false }
                let kind = bytes[at]
                at += 1
                switch kind {
                case 0x22, 0x5c, 0x2f: text.append(kind)
                case UInt8(ascii: "b"): text.append(8)
                case UInt8(ascii: "f"): text.append(12)
                case UInt8(ascii: "n"): text.append(10)
                case UInt8(ascii: "r"): text.append(13)
                case UInt8(ascii: "t"): text.append(9)
                case UInt8(ascii: "u"):
                    guard let scalar = scalar() else { return false }
                    text.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
                default: return false
                }
            }
            return false
        }

        private mutating func scalar() -> Unicode.Scalar? {
            guard let high = unit() else { return nil }
            guard UTF16.isLeadSurrogate(high) else { return Unicode.Scalar(high) }
            guard take("\\"), take("u"), let low = unit(), UTF16.isTrailSurrogate(low) else { return nil }
            return Unicode.Scalar(0x10000 + (UInt32(high) - 0xd800) << 10 + (UInt32(low) - 0xdc00))
        }

        private mutating func unit() -> UInt16? {
            guard at + 4 <= bytes.count, let text = String(validating: bytes[at..<at + 4], as: UTF8.self) else {
                return nil
            }
            at += 4
            return UInt16(text, radix: 16)
        }
    }
}
