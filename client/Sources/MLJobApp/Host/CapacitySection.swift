import MLJobKit
import SwiftUI

/// What the host has, and how much of it is taken.
struct CapacitySection: View {
    let info: HostInfo

    var body: some View {
        Section("Capacity") {
            row(
                "Jobs", Double(info.inUse.jobs), Double(info.capacity.jobs),
                "\(info.inUse.jobs) of \(info.capacity.jobs)")
            row(
                "CPUs", info.inUse.cpus, info.capacity.cpus, "\(words(info.inUse.cpus)) of \(words(info.capacity.cpus))"
            )
            row(
                "Memory", Double(info.inUse.memoryBytes), Double(info.capacity.memoryBytes),
                "\(Quantity.format(bytes: info.inUse.memoryBytes)) of \(Quantity.format(bytes: info.capacity.memoryBytes))"
            )
            if let drain = info.drain { LabeledContent("Drained", value: words(drain)) }
        }
    }

    private func words(_ drain: Drain) -> String {
        let begins = "from \(TimesSection.words(drain.beginsAt))"
        return drain.endsAt.map { "\(begins) to \(TimesSection.words($0))" } ?? begins
    }

    private func words(_ number: Double) -> String { number.formatted(.number.precision(.fractionLength(0...1))) }

    private func row(_ title: LocalizedStringKey, _ used: Double, _ all: Double, _ words: String) -> some View {
        LabeledContent(title) {
            HStack {
                ProgressView(value: min(used, all), total: max(all, 1))
                    .progressViewStyle(.linear)
                    .frame(width: 140)
                Text(words).monospacedDigit()
            }
        }
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(title)
        .accessibilityValue(words)
    }
}
