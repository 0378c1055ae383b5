import MLJobKit
import SwiftUI

/// What a job may use.
struct LimitsRows: View {
    let limits: Limits

    var body: some View {
        Section("Limits") {
            if limits.isEmpty { Text("The site's").foregroundStyle(.secondary) }
            row("Memory", limits.memoryBytes.map(Quantity.format(bytes:)))
            row("CPUs", limits.cpus.map { $0.formatted() })
            row("Processes and threads", limits.tasks.map { $0.formatted() })
            row("Run time", limits.runTimeSeconds.map(Quantity.format(seconds:)))
            row("Grace", limits.graceSeconds.map(Quantity.format(seconds:)))
            row("Files", limits.artifactFiles.map { $0.formatted() })
            row("Size of files", limits.artifactBytes.map(Quantity.format(bytes:)))
        }
    }

    @ViewBuilder private func row(_ title: LocalizedStringKey, _ value: String?) -> some View {
        if let value { LabeledContent(title, value: value) }
    }
}
