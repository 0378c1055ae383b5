import MLJobKit
import SwiftUI

/// Everything that is recorded of a sweep.
struct SweepDetailsTab: View {
    let host: HostSession
    let sweep: Sweep

    var body: some View {
        Form {
            Section("Sweep") {
                LabeledContent("ID") { CopyableText(sweep.id) }
                LabeledContent("Owner", value: sweep.owner)
                LabeledContent(sweep.objective.direction.title, value: sweep.objective.metric)
                LabeledContent("Strategy", value: sweep.strategy.title)
                if let pruner = sweep.pruner { LabeledContent("Pruner", value: pruner.title) }
                LabeledContent("Trials", value: sweep.progressWords)
                LabeledContent("At once", value: sweep.atOnce, format: .number)
                LabeledContent("Seed") { CopyableText(String(sweep.seed)) }
                times
            }
            ValuesSection(title: "Space", values: sweep.space.mapValues(\.words), empty: "")
            ValuesSection(title: "Fixed hyperparameters", values: sweep.hyperparameters, empty: "The script's defaults")
            if !sweep.labels.isEmpty { ValuesSection(title: "Labels", values: sweep.labels, empty: "") }
            if let inputs = sweep.inputs, !inputs.isEmpty { InputsRows(host: host, inputs: inputs) }
            LimitsRows(limits: sweep.limits)
            ReadersSection(sharing: host.sharing(of: .sweep(sweep.id)))
            provenance
        }
        .formStyle(.grouped)
    }

    @ViewBuilder private var times: some View {
        LabeledContent("Created", value: TimesSection.words(sweep.createdAt))
        if let end = sweep.finishedAt { LabeledContent("Ended", value: TimesSection.words(end)) }
    }

    private var provenance: some View {
        Section("Provenance") {
            LabeledContent("Script", value: sweep.scriptName)
            LabeledContent("Commit") { CopyableText(sweep.commit) }
            LabeledContent("Script's SHA-256") { CopyableText(sweep.scriptSHA256) }
            LabeledContent("Image") { CopyableText(sweep.image) }
            LabeledContent("Image's digest") { CopyableText(sweep.imageDigest) }
            if let earlier = sweep.rerunOf { LabeledContent("Rerun of") { CopyableText(earlier) } }
        }
    }
}
