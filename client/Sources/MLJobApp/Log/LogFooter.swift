import MLJobKit
import SwiftUI

/// How much of the log is there, and whether more comes.
struct LogFooter: View {
    let log: LogModel

    var body: some View {
        HStack(spacing: 12) {
            Text("\(log.count) lines")
            if log.trimmed > 0 {
                Text("The first \(log.trimmed) are not kept here; Save has them.")
            }
            if log.gaps > 0 {
                Label("\(log.gaps) gaps", systemImage: "exclamationmark.triangle")
                    .foregroundStyle(.orange)
                    .help("The host lost lines here. A row in the log says where, and how many.")
            }
            Spacer()
            state
        }
        .font(.caption)
        .foregroundStyle(.secondary)
        .padding(.horizontal, 8)
        .padding(.vertical, 4)
        .background(.bar)
        .accessibilityElement(children: .combine)
    }

    @ViewBuilder private var state: some View {
        if log.isComplete {
            Text("Complete")
        } else {
            ConnectionLabel(state: log.connection)
        }
    }
}
