import MLJobKit
import SwiftUI

/// How the trials are chosen, how many there are, and which are ended early.
struct StrategySection: View {
    @Bindable var form: SweepForm

    var body: some View {
        Section("Strategy") {
            Picker("Strategy", selection: $form.strategy) {
                ForEach(SweepStrategy.known, id: \.self) { Text($0.title).tag($0) }
            }
            Objection(text: form.objections["strategy"])
            Picker("Pruner", selection: $form.pruner) {
                Text("None").tag(SweepPruner?.none)
                ForEach(SweepPruner.known, id: \.self) { Text($0.title).tag(SweepPruner?.some($0)) }
            }
            Objection(text: form.objections["pruner"])
            row("Trials", $form.trials, form.strategy == .grid ? "all points" : "60", "trials")
            row("At once", $form.atOnce, "4", "at_once")
            row("Seed", $form.seed, "chosen by the host", "seed")
        }
    }

    @ViewBuilder private func row(
        _ title: LocalizedStringKey, _ text: Binding<String>, _ example: String, _ field: String
    ) -> some View {
        TextField(title, text: text, prompt: Text(example))
            .multilineTextAlignment(.trailing)
        Objection(text: form.objections[field])
    }
}
