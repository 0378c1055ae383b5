import MLJobKit
import SwiftUI

/// What a running job uses, asked every two seconds while it is seen.
struct UsageSection: View {
    let detail: JobDetail

    var body: some View {
        Section("Usage") {
            if let usage = detail.usage {
                row("CPUs", detail.cpusUsed.map { $0.formatted(.number.precision(.fractionLength(1))) })
                row("CPU time", usage.cpuSeconds.map(DurationCell.words))
                row("Memory", usage.memoryBytes.map(Quantity.format(bytes:)))
                row("Memory at most", usage.memoryPeakBytes.map(Quantity.format(bytes:)))
                row("Processes and threads", usage.tasks.map { $0.formatted() })
            } else {
                Text("Not known yet").foregroundStyle(.secondary)
            }
        }
        .task { await detail.watchUsage() }
    }

    /// What the host does not count has no row.
    @ViewBuilder private func row(_ title: LocalizedStringKey, _ value: String?) -> some View {
        if let value { LabeledContent(title, value: value).monospacedDigit() }
    }
}
