import Foundation

/// What is looked for in a log, whatever its case. Bytes are compared, so that a million lines take tenths of a second.
public struct LogSearch: Sendable, Hashable {
    /// A character in its two cases, in UTF-8. They may differ in length.
    private struct Letter: Sendable, Hashable {
        let lower: [UInt8]
        let upper: [UInt8]

        init(_ scalar: Unicode.Scalar) {
            // A case of several characters, as of ß, is none: "SS" is not what was typed.
            func utf8(_ mapping: String) -> [UInt8] {
                Array((mapping.unicodeScalars.count == 1 ? mapping : "\(scalar)").utf8)
            }
            lower = utf8(scalar.properties.lowercaseMapping)
            upper = utf8(scalar.properties.uppercaseMapping)
        }
    }

    public let text: String
    private let letters: [Letter]
    /// Whether a match can begin with that byte.
    private let isFirst: [Bool]

    /// Nil where `text` is empty.
    public init?(_ text: String) {
        guard !text.isEmpty else { return nil }
        self.text = text
        letters = text.unicodeScalars.map(Letter.init)
        isFirst = (0...255).map { [letters] in
            letters[0].lower.first == UInt8($0) || letters[0].upper.first == UInt8($0)
        }
    }

    /// Whether a text as it is shown has it.
    public func isIn(_ text: String) -> Bool {
        Array(text.utf8).withUnsafeBufferPointer { has($0, 0, $0.count) }
    }

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
        block.bytes.withUnsafeBufferPointer { bytes in
            block.ends.withUnsafeBufferPointer { ends in
                block.flags.withUnsafeBufferPointer { flags in
                    var from = first == 0 ? 0 : Int(ends[first - 1])
                    for row in first..<ends.count {
                        let to = Int(ends[row])
                        // Of a row with control characters, what is shown is searched.
                        let isControlled = flags[row] & LogBlock.Flags.controlled.rawValue != 0
                        if isControlled ? isIn(ANSIText.plain(block.text(of: row))) : has(bytes, from, to) {
                            found.append(start + row)
                        }
                        from = to
                    }
                }
            }
        }
    }

    private func has(_ bytes: UnsafeBufferPointer<UInt8>, _ from: Int, _ to: Int) -> Bool {
        isFirst.withUnsafeBufferPointer { isFirst in
            letters.withUnsafeBufferPointer { letters in
                for at in from..<to where isFirst[Int(bytes[at])] && matches(letters, bytes, at, to) { return true }
                return false
            }
        }
    }

    private func matches(
        _ letters: UnsafeBufferPointer<Letter>, _ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int
    ) -> Bool {
        var at = start
        for letter in letters {
            if Self.starts(bytes, at, end, letter.lower) {
                at += letter.lower.count
            } else if Self.starts(bytes, at, end, letter.upper) {
                at += letter.upper.count
            } else {
                return false
            }
        }
        return true
    }

    private static func starts(
        _ bytes: UnsafeBufferPointer<UInt8>, _ at: Int, _ end: Int, _ wanted: [UInt8]
    ) -> Bool {
        guard at + wanted.count <= end else { return false }
        for offset in 0..<wanted.count where bytes[at + offset] != wanted[offset] { return false }
        return true
    }
}
