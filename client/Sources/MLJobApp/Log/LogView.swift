import MLJobKit
import SwiftUI

/// A job's log: rows, the bar above them, and what to say where there are none.
struct LogView: View {
    let log: LogModel
    @State private var target: Int?
    @State private var attempt = 0
    @State private var selection = LogSelection()

    var body: some View {
        VStack(spacing: 0) {
            LogBar(log: log, target: $target, selection: selection)
            Divider()
            LogTable(log: log, version: log.version, target: target, selection: selection)
                .overlay { if log.count == 0 { LogEmptyView(log: log) { attempt += 1 } } }
            LogFooter(log: log)
        }
        .task(id: attempt) { await log.run() }
    }
}
