import Foundation

/// The rows of a log in bounded memory: beyond the bound, the oldest are given up.
public struct LogStore: Sendable {
    /// Bytes, of texts and of what is kept with each row.
    public let limit: Int
    private(set) var blocks: [LogBlock] = []
    /// The first row's id in each block.
    private(set) var starts: [Int] = []
    private(set) var size = 0
    /// Rows that were given up.
    public private(set) var trimmed = 0
    /// Rows that were ever added.
    public private(set) var end = 0

    public init(limit: Int = 112 << 20) { self.limit = limit }

    /// The ids of the rows that are kept.
    public var rows: Range<Int> { trimmed..<end }
    public var isEmpty: Bool { end == trimmed }

    public mutating func append(_ line: LogLine) {
        makeRoom(line.text.utf8.count, line.time)
        change { $0.append(line) }
    }

    public mutating func append(_ gap: LogGap) {
        makeRoom(0, gap.time)
        change { $0.append(gap) }
    }

    private mutating func makeRoom(_ length: Int, _ time: Date) {
        if let last = blocks.last, last.hasRoom(length, at: time.milliseconds) { return }
        while size + length > limit, blocks.count > 1 { giveUpFirst() }
        blocks.append(LogBlock())
        starts.append(end)
    }

    private mutating func giveUpFirst() {
        let first = blocks.removeFirst()
        starts.removeFirst()
        trimmed += first.count
        size -= first.size
    }

    private mutating func change(_ deed: (inout LogBlock) -> Void) {
        let at = blocks.count - 1
        let before = blocks[at].size
        deed(&blocks[at])
        size += blocks[at].size - before
        end += 1
    }

    /// The row with that id, which must be kept.
    public subscript(id: Int) -> LogRow {
        let (block, row) = place(of: id)
        return LogRow(id: id, content: blocks[block].content(of: row))
    }

    func flags(of id: Int) -> LogBlock.Flags {
        let (block, row) = place(of: id)
        return blocks[block].flags(of: row)
    }

    /// The number of the last line or gap.
    public var lastNumber: Int? { blocks.last.map { $0.number(of: $0.count - 1) } }

    private func place(of id: Int) -> (block: Int, row: Int) {
        precondition(rows.contains(id), "row \(id) is not kept")
        var (low, high) = (0, starts.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= id { low = middle } else { high = middle }
        }
        return (low, id - starts[low])
    }

    /// The ids of the rows from `first` on for which `isWanted` holds.
    func ids(from first: Int, where isWanted: (LogBlock.Flags) -> Bool) -> [Int32] {
        var found: [Int32] = []
        for (block, start) in zip(blocks, starts) where start + block.count > first {
            for row in max(first - start, 0)..<block.count where isWanted(block.flags(of: row)) {
                found.append(Int32(truncatingIfNeeded: start + row))
            }
        }
        return found
    }
}
