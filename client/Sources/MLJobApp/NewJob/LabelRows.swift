import MLJobKit
import SwiftUI

/// A job's labels.
struct LabelRows: View {
    @Bindable var form: ScriptForm

    var body: some View {
        ForEach($form.labels) { LabelRow(form: form, label: $0) }
    }
}

/// A label's key and value.
struct LabelRow: View {
    let form: ScriptForm
    @Binding var label: ScriptForm.Label

    var body: some View {
        HStack {
            TextField("Label", text: $label.key, prompt: Text("key")).labelsHidden()
            TextField("Value", text: $label.value, prompt: Text("value")).labelsHidden()
            Button(role: .destructive) {
                form.labels.removeAll { $0.id == label.id }
            } label: {
                Label("Remove", systemImage: "minus.circle").labelStyle(.iconOnly)
            }
            .buttonStyle(.borderless)
        }
        Objection(text: form.objections["labels.\(label.key)"])
    }
}
