import Foundation

extension JSONDecoder {
    /// Reads what the agent writes: RFC 3339 times in UTC with milliseconds.
    public static func ofAgent() -> JSONDecoder {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .custom { decoder in
            let text = try decoder.singleValueContainer().decode(String.self)
            guard let date = AgentTime.parse(text) else {
                throw DecodingError.dataCorrupted(
                    .init(codingPath: decoder.codingPath, debugDescription: "\(text) is no RFC 3339 time"))
            }
            return date
        }
        return decoder
    }
}

extension JSONEncoder {
    /// Writes what the agent reads. Keys are sorted, so that a repeated body is the same bytes.
    public static func ofAgent() -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .custom { date, encoder in
            var container = encoder.singleValueContainer()
            try container.encode(AgentTime.format(date))
        }
        return encoder
    }
}

/// RFC 3339 in UTC with milliseconds and `Z`, as the agent writes every time.
public enum AgentTime {
    private static let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    /// The nearest millisecond; Foundation's style cuts the rest off, and few milliseconds are exact in binary.
    public static func format(_ date: Date) -> String {
        Date(timeIntervalSince1970: (Double(date.milliseconds) + 0.25) / 1000).formatted(style)
    }

    /// Nil where `text` is no such time. Takes times without a fraction, too.
    public static func parse(_ text: String) -> Date? {
        if let milliseconds = milliseconds(text) { return Date(timeIntervalSince1970: Double(milliseconds) / 1000) }
        return (try? Date(text, strategy: style)) ?? (try? Date(text, strategy: .iso8601))
    }

    /// Milliseconds since 1970 of `2026-01-01T00:00:00.000Z`, without Foundation's parser, which takes 20 µs.
    static func milliseconds(_ text: String) -> Int? {
        let bytes = Array(text.utf8)
        guard bytes.count == 24, bytes[4] == 0x2d, bytes[7] == 0x2d, bytes[10] == 0x54, bytes[13] == 0x3a,
            bytes[16] == 0x3a, bytes[19] == 0x2e, bytes[23] == 0x5a
        else { return nil }
        func number(_ range: Range<Int>) -> Int? {
            range.reduce(Int?.some(0)) { value, at in
                guard let value, bytes[at] >= 0x30, bytes[at] <= 0x39 else { return nil }
                return value * 10 + Int(bytes[at] - 0x30)
            }
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            let fraction = number(20..<23), (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60,
            second < 61
        else { return nil }
        return ((days(year, month, day) * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + fraction
    }

    /// Days from 1970-01-01 in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
    private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension Date {
    /// Since 1970.
    var milliseconds: Int { Int((timeIntervalSince1970 * 1000).rounded()) }
}

extension KeyedDecodingContainer {
    /// The member's value, or `fallback` where an older agent left it out.
    func value<Value: Decodable>(_ key: Key, or fallback: Value) throws -> Value {
        try decodeIfPresent(Value.self, forKey: key) ?? fallback
    }
}

/// A string of which this version knows some values, and which later versions may extend.
public protocol OpenString: RawRepresentable, Codable, Hashable, Sendable, CustomStringConvertible
where RawValue == String {}

extension OpenString {
    public var description: String { rawValue }
}
