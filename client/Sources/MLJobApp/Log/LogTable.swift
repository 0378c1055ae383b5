import AppKit
import MLJobKit
import SwiftUI

/// A log of any length: AppKit's table makes views for the visible rows alone, where SwiftUI's list makes a node for
/// each row.
struct LogTable: NSViewRepresentable {
    let log: LogModel
    /// Read here, so that SwiftUI calls `updateNSView` with every batch of rows.
    let version: Int
    /// The row to show, by its id.
    let target: Int?
    let selection: LogSelection

    func makeCoordinator() -> LogTableCoordinator { LogTableCoordinator(log: log, selection: selection) }

    func makeNSView(context: Context) -> NSScrollView { context.coordinator.makeView() }

    func updateNSView(_ nsView: NSScrollView, context: Context) {
        context.coordinator.update(target: target)
    }
}
