import Foundation

/// Rows on their way from the stream to the main actor, which takes them in batches.
final class LogBuffer: @unchecked Sendable {
    static let mostRows = 2_000
    static let mostBytes = 1 << 20

    private let lock = NSLock()
    private var rows: [LogRow.Content] = []
    private var bytes = 0

    /// Whether this is the first row of a batch, and whether the batch is full.
    func append(_ row: LogRow.Content) -> (isFirst: Bool, isFull: Bool) {
        lock.withLock {
            rows.append(row)
            if case .line(let line) = row { bytes += line.text.utf8.count }
            return (rows.count == 1, rows.count >= Self.mostRows || bytes >= Self.mostBytes)
        }
    }

    func take() -> [LogRow.Content] {
        lock.withLock {
            defer { (rows, bytes) = ([], 0) }
            return rows
        }
    }
}
