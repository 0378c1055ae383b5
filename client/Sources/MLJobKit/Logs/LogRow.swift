import Foundation

/// One row of a log on the screen.
public struct LogRow: Sendable, Hashable, Identifiable {
    public enum Content: Sendable, Hashable {
        case line(LogLine)
        case gap(LogGap)
    }

    /// Counts all rows from 0, also those that are not kept any more.
    public let id: Int
    public let content: Content

    public init(id: Int, content: Content) {
        self.id = id
        self.content = content
    }

    /// As it is shown: of a redrawn progress bar the last drawing, without colours.
    public var text: String {
        switch content {
        case .line(let line): ANSIText.plain(line.text)
        case .gap(let gap): gap.sentence
        }
    }
}

extension LogGap {
    public var sentence: String {
        switch count {
        case 1?: "1 line is missing here"
        case let count?: "\(count) lines are missing here"
        case nil: cause == "removed" ? "Lines are missing here" : "Lines may be missing here"
        }
    }
}
