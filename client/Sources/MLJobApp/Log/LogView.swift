import MLJobKit
import SwiftUI

/// A job's log: rows, the bar above them, and what to say where there are none.
struct LogView: View {
    let log: LogModel
    @State private var target: Int?
    @State private var selection = LogSelection()

    var body: some View {
        VStack(spacing: 0) {
            LogBar(log: log, target: $target, selection: selection)
            Divider()
            LogTable(log: log, version: log.version, target: target, selection: selection)
                .overlay { if log.count == 0 { LogEmptyView(log: log) } }
            LogFooter(log: log)
        }
        .task(id: log.job) { await log.run() }
    }
}
