import MLJobKit
import SwiftUI

/// A job's log: rows, the bar above them, and what to say where there are none.
struct LogView: View {
    let log: LogModel
    @State private var target: Int?

    var body: some View {
        VStack(spacing: 0) {
            LogBar(log: log, target: $target)
            Divider()
            LogTable(log: log, version: log.version, target: target)
                .overlay { if log.count == 0 { LogEmptyView(log: log) } }
            LogFooter(log: log)
        }
        .task(id: log.job) { await log.run() }
    }
}
