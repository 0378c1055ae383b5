import MLJobKit
import SwiftUI

/// A row for each parameter of the script.
struct ParametersSection: View {
    @Bindable var form: ScriptForm
    /// Parameters that have no row: a sweep varies them.
    var leftOut: Set<String> = []
    var title: LocalizedStringKey = "Hyperparameters"

    var body: some View {
        Section {
            if form.fields.isEmpty && !form.script.anyParameters {
                Text("This script has no parameters.").foregroundStyle(.secondary)
            }
            ForEach($form.fields) { field in
                if !leftOut.contains(field.wrappedValue.name) { ParameterRow(form: form, field: field) }
            }
            if form.script.anyParameters {
                Button("Add a Parameter") { form.fields.append(ParameterField(name: "", value: "")) }
            }
            Objection(text: form.objections["hyperparameters"])
        } header: {
            Text(title)
        }
    }
}
