import Foundation

/// What is looked for in a log, whatever its case.
public struct LogSearch: Sendable, Hashable {
    public let text: String
    private let folded: [UInt8]
    /// Whether bytes can be compared: beyond ASCII, one letter's two cases differ in length.
    private let isASCII: Bool

    /// Nil where `text` is empty.
    public init?(_ text: String) {
        guard !text.isEmpty else { return nil }
        self.text = text
        isASCII = text.utf8.allSatisfy { $0 < 0x80 }
        folded = text.utf8.map(Self.lower)
    }

    private static func lower(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte }

    /// Whether the text as it is shown has it.
    public func isIn(_ text: String) -> Bool { text.range(of: self.text, options: .caseInsensitive) != nil }

    /// The ids of the rows with a match, from row `first` on. Stops early where `isCancelled` says so.
    public func rows(in store: LogStore, from first: Int = 0, isCancelled: () -> Bool = { false }) -> [Int] {
        var found: [Int] = []
        for (block, start) in zip(store.blocks, store.starts) where start + block.count > first {
            if isCancelled() { break }
            search(block, start, max(first - start, 0), &found)
        }
        return found
    }

    private func search(_ block: LogBlock, _ start: Int, _ first: Int, _ found: inout [Int]) {
        if isASCII {
            searchBytes(block, start, first, &found)
        } else {
            for row in first..<block.count where isShown(block, row) { found.append(start + row) }
        }
    }

    private func isShown(_ block: LogBlock, _ row: Int) -> Bool {
        !block.flags(of: row).contains(.gap) && isIn(ANSIText.plain(block.text(of: row)))
    }

    private func searchBytes(_ block: LogBlock, _ start: Int, _ first: Int, _ found: inout [Int]) {
        block.bytes.withUnsafeBufferPointer { bytes in
            block.ends.withUnsafeBufferPointer { ends in
                block.flags.withUnsafeBufferPointer { flags in
                    var from = first == 0 ? 0 : Int(ends[first - 1])
                    for row in first..<ends.count {
                        let to = Int(ends[row])
                        let isControlled = flags[row] & LogBlock.Flags.controlled.rawValue != 0
                        if isControlled ? isShown(block, row) : has(bytes, from, to) { found.append(start + row) }
                        from = to
                    }
                }
            }
        }
    }

    @inline(__always)
    private func has(_ bytes: UnsafeBufferPointer<UInt8>, _ from: Int, _ to: Int) -> Bool {
        folded.withUnsafeBufferPointer { needle in
            var at = from
            let last = to - needle.count
            while at <= last {
                var length = 0
                while length < needle.count, Self.lower(bytes[at + length]) == needle[length] { length += 1 }
                if length == needle.count { return true }
                at += 1
            }
            return false
        }
    }
}
