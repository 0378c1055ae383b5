import Foundation

/// One server-sent event (WHATWG HTML, section 9.2).
public struct ServerSentEvent: Sendable, Hashable {
    public var id: String?
    public var name = "message"
    public var data = Data()

    public init(id: String? = nil, name: String = "message", data: Data = Data()) {
        self.id = id
        self.name = name
        self.data = data
    }
}

/// Bytes in, whole events out. An event that was cut off is none.
public struct EventParser: Sendable {
    /// Bytes of one event. A line of 48 KiB is at most six times as long in JSON.
    public static let maximum = 8 << 20

    private var line: [UInt8] = []
    private var event = ServerSentEvent()
    private var hasData = false
    private var isAfterReturn = false
    private var isFirst = true

    public init() {}

    /// Raises `TransportError.tooLarge` where an event has no end.
    public mutating func feed(_ bytes: Data) throws -> [ServerSentEvent] {
        var events: [ServerSentEvent] = []
        try bytes.withUnsafeBytes { buffer in
            var start = 0
            while let end = lineEnd(buffer, from: start) {
                take(buffer[start..<end], into: &events)
                start = end + 1
            }
            if start < buffer.count { line.append(contentsOf: buffer[start...]) }
            if line.count + event.data.count > Self.maximum { throw TransportError.tooLarge(Self.maximum) }
        }
        return events
    }

    /// Lines end in LF, CR or both.
    private func lineEnd(_ buffer: UnsafeRawBufferPointer, from start: Int) -> Int? {
        guard start < buffer.count, let base = buffer.baseAddress else { return nil }
        let count = buffer.count - start
        let feed = memchr(base + start, 0x0a, count).map { $0 - UnsafeMutableRawPointer(mutating: base) }
        // The agent writes LF; a CR is looked for only in front of it.
        let carriage = memchr(base + start, 0x0d, (feed ?? buffer.count) - start)
        return carriage.map { $0 - UnsafeMutableRawPointer(mutating: base) } ?? feed
    }

    private mutating func take(_ bytes: Slice<UnsafeRawBufferPointer>, into events: inout [ServerSentEvent]) {
        let isFeed = bytes.base[bytes.endIndex] == 0x0a
        defer { isAfterReturn = !isFeed }
        if isFeed && isAfterReturn && bytes.isEmpty && line.isEmpty { return }
        let whole: ServerSentEvent?
        if line.isEmpty {
            whole = end(UnsafeRawBufferPointer(rebasing: bytes))
        } else {
            line.append(contentsOf: bytes)
            var complete: [UInt8] = []
            swap(&complete, &line)
            whole = complete.withUnsafeBytes { end($0) }
            complete.removeAll(keepingCapacity: true)
            line = complete
        }
        if let whole { events.append(whole) }
    }

    private mutating func end(_ bytes: UnsafeRawBufferPointer) -> ServerSentEvent? {
        var line = bytes[...]
        if isFirst && line.starts(with: [0xef, 0xbb, 0xbf]) { line = line.dropFirst(3) }
        isFirst = false
        if line.isEmpty {
            defer { (event, hasData) = (ServerSentEvent(), false) }
            return hasData ? event : nil
        }
        let colon = line.firstIndex(of: 0x3a) ?? line.endIndex
        var value = line[colon...].dropFirst()
        if value.first == 0x20 { value = value.dropFirst() }
        set(line[..<colon], value)
        return nil
    }

    private mutating func set(_ field: Slice<UnsafeRawBufferPointer>, _ value: Slice<UnsafeRawBufferPointer>) {
        switch String(decoding: field, as: UTF8.self) {
        case "id":
            // An id with a NUL is ignored, as the standard says.
            if !value.contains(0) { event.id = String(decoding: value, as: UTF8.self) }
        case "event": event.name = String(decoding: value, as: UTF8.self)
        case "data":
            if hasData { event.data.append(0x0a) }
            event.data.append(contentsOf: value)
            hasData = true
        default: break  // a comment, or a field of a later version
        }
    }
}
