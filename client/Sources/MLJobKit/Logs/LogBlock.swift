import Foundation

/// Some thousand rows, packed: a row costs its text in UTF-8 and 13 bytes.
struct LogBlock: Sendable {
    static let capacity = 256 << 10  // bytes of text
    static let mostRows = 8192

    struct Flags: OptionSet {
        let rawValue: UInt8
        static let gap = Flags(rawValue: 1)
        static let system = Flags(rawValue: 2)
        static let continued = Flags(rawValue: 4)
        /// A `::progress` or `::metric` line.
        static let mark = Flags(rawValue: 8)
        /// Has control characters: what is shown is not what is stored.
        static let controlled = Flags(rawValue: 16)
        static let stdout = Flags(rawValue: 32)
        static let stderr = Flags(rawValue: 64)
    }

    private(set) var bytes: [UInt8] = []
    /// Where each row's text ends in `bytes`.
    private(set) var ends: [UInt32] = []
    private(set) var flags: [UInt8] = []
    private var numbers: [UInt32] = []
    /// Milliseconds from `base`.
    private var times: [UInt32] = []
    private var base = 0
    private var gapCounts: [Int: Int] = [:]
    private var gapCauses: [Int: String] = [:]
    private var sources: [Int: String] = [:]

    var count: Int { ends.count }
    /// What it takes of memory, about.
    var size: Int { bytes.count + count * 13 }

    /// Whether another row of that many bytes, at that time, goes in.
    func hasRoom(_ length: Int, at time: Int) -> Bool {
        count == 0
            || (count < Self.mostRows && bytes.count + length <= Self.capacity && time >= base
                && time - base <= UInt32.max)
    }

    mutating func append(_ line: LogLine) {
        var flags: Flags = line.source == .job ? [] : .system
        if line.continued { flags.insert(.continued) }
        if line.stream == .stdout { flags.insert(.stdout) }
        if line.stream == .stderr { flags.insert(.stderr) }
        if LogMark.isMark(line.text) { flags.insert(.mark) }
        if line.source != .job && line.source != .system { sources[count] = line.source.rawValue }
        let start = bytes.count
        bytes.append(contentsOf: line.text.utf8)
        if bytes[start...].contains(where: { $0 < 0x20 || $0 == 0x7f }) { flags.insert(.controlled) }
        end(number: line.number, time: line.time.milliseconds, flags)
    }

    mutating func append(_ gap: LogGap) {
        if let lost = gap.count { gapCounts[count] = lost }
        if let cause = gap.cause { gapCauses[count] = cause }
        end(number: gap.after, time: gap.time.milliseconds, .gap)
    }

    private mutating func end(number: Int, time: Int, _ flags: Flags) {
        if count == 0 { base = time }
        ends.append(UInt32(bytes.count))
        numbers.append(UInt32(clamping: number))
        times.append(UInt32(clamping: time - base))
        self.flags.append(flags.rawValue)
    }

    func range(of row: Int) -> Range<Int> { (row == 0 ? 0 : Int(ends[row - 1]))..<Int(ends[row]) }
    func text(of row: Int) -> String { String(decoding: bytes[range(of: row)], as: UTF8.self) }
    func flags(of row: Int) -> Flags { Flags(rawValue: flags[row]) }
    func number(of row: Int) -> Int { Int(numbers[row]) }

    func content(of row: Int) -> LogRow.Content {
        let time = Date(timeIntervalSince1970: Double(base + Int(times[row])) / 1000)
        let flags = flags(of: row)
        if flags.contains(.gap) {
            return .gap(
                LogGap(after: Int(numbers[row]), count: gapCounts[row], cause: gapCauses[row], time: time))
        }
        let source = sources[row].map(LogSource.init) ?? (flags.contains(.system) ? .system : .job)
        let stream: LogOutput? = flags.contains(.stdout) ? .stdout : flags.contains(.stderr) ? .stderr : nil
        return .line(
            LogLine(
                number: Int(numbers[row]), time: time, source: source, stream: stream, text: text(of: row),
                continued: flags.contains(.continued)))
    }
}

/// Lines by which a job tells its progress and metrics, and which a person need not read.
public enum LogMark {
    public static func isMark(_ text: String) -> Bool {
        text.hasPrefix("::") && (text.hasPrefix("::progress {") || text.hasPrefix("::metric {"))
    }
}
