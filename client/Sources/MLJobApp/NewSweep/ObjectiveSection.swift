import MLJobKit
import SwiftUI

/// Which metric decides, and whether more or less of it is better.
struct ObjectiveSection: View {
    @Bindable var form: SweepForm

    var body: some View {
        Section {
            TextField("Metric", text: $form.metric, prompt: Text("roc_auc"))
                .autocorrectionDisabled()
                .multilineTextAlignment(.trailing)
            if !form.metric.isEmpty { Objection(text: form.objections["objective.metric"]) }
            Picker("Better is", selection: $form.direction) {
                ForEach(Direction.known, id: \.self) { Text($0.title).tag($0) }
            }
            .pickerStyle(.segmented)
            Objection(text: form.objections["objective.direction"] ?? form.objections["objective"])
        } header: {
            Text("Objective")
        } footer: {
            Text("What a trial reports last by ::metric decides.")
        }
    }
}
