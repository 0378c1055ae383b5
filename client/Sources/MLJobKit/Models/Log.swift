import Foundation

/// Who wrote a line: the job's own processes, or systemd and Podman about them.
public struct LogSource: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let job = LogSource(rawValue: "job")
    public static let system = LogSource(rawValue: "system")
}

/// What a job wrote a line to.
public struct LogOutput: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let stdout = LogOutput(rawValue: "stdout")
    public static let stderr = LogOutput(rawValue: "stderr")
}

/// One line of a job's log, numbered from 1.
public struct LogLine: Codable, Hashable, Sendable {
    public let number: Int
    public let time: Date
    public let source: LogSource
    /// Nil for a line of the system, and in the log that an earlier agent archived.
    public let stream: LogOutput?
    public let text: String
    /// The exact bytes of a line that is not UTF-8, which `text` cannot have.
    public let base64: Data?
    /// The next line of the same stream goes on with this one, which journald has cut.
    public let continued: Bool

    enum CodingKeys: String, CodingKey, CaseIterable {
        case number, time, source, stream, text, base64, continued
    }

    public init(
        number: Int, time: Date, source: LogSource = .job, stream: LogOutput? = nil, text: String,
        base64: Data? = nil, continued: Bool = false
    ) {
        self.number = number
        self.time = time
        self.source = source
        self.stream = stream
        self.text = text
        self.base64 = base64
        self.continued = continued
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            number: try members.decode(Int.self, forKey: .number),
            time: try members.decode(Date.self, forKey: .time),
            source: try members.decode(LogSource.self, forKey: .source),
            stream: try members.decodeIfPresent(LogOutput.self, forKey: .stream),
            text: try members.decode(String.self, forKey: .text),
            base64: try members.decodeIfPresent(Data.self, forKey: .base64),
            continued: try members.value(.continued, or: false)
        )
    }
}

/// Lines that were printed after line `after` and are lost; `count` of them where that is known. `cause` says why,
/// in a word of `docs/logs.md`; an earlier agent says none, a later one may say another.
public struct LogGap: Codable, Hashable, Sendable {
    public let after: Int
    public let count: Int?
    public let cause: String?
    public let time: Date

    enum CodingKeys: String, CodingKey, CaseIterable {
        case after, count, cause, time
    }

    public init(after: Int, count: Int? = nil, cause: String? = nil, time: Date) {
        self.after = after
        self.count = count
        self.cause = cause
        self.time = time
    }
}
