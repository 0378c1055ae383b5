import MLJobKit
import SwiftUI

/// A row for each parameter of the script.
struct ParametersSection: View {
    @Bindable var form: ScriptForm

    var body: some View {
        Section {
            if form.fields.isEmpty && !form.script.anyParameters {
                Text("This script has no parameters.").foregroundStyle(.secondary)
            }
            ForEach($form.fields) { ParameterRow(form: form, field: $0) }
            if form.script.anyParameters {
                Button("Add a Parameter") { form.fields.append(ParameterField(name: "", value: "")) }
            }
            Objection(text: form.objections["hyperparameters"])
        } header: {
            Text("Hyperparameters")
        }
    }
}
