import MLJobKit
import SwiftUI

/// A parameter: its control, what it takes, and what is wrong with its value.
struct ParameterRow: View {
    let form: ScriptForm
    @Binding var field: ParameterField

    var body: some View {
        LabeledContent {
            HStack {
                ParameterControl(field: $field)
                if field.isFree {
                    Button(role: .destructive) {
                        form.fields.removeAll { $0.id == field.id }
                    } label: {
                        Label("Remove", systemImage: "minus.circle").labelStyle(.iconOnly)
                    }
                    .buttonStyle(.borderless)
                } else if field.isGiven {
                    Button {
                        field.value = ""
                    } label: {
                        Label("Use the default", systemImage: "arrow.uturn.backward").labelStyle(.iconOnly)
                    }
                    .buttonStyle(.borderless)
                    .help("Use the script's default")
                }
            }
        } label: {
            name
            words
        }
        .accessibilityElement(children: .contain)
        .accessibilityLabel(field.name)
        .accessibilityHint(hint)
    }

    @ViewBuilder private var name: some View {
        if field.isFree {
            TextField("Name", text: $field.name).labelsHidden().frame(maxWidth: 180)
        } else {
            Text(field.name).monospaced()
        }
    }

    @ViewBuilder private var words: some View {
        let parts = [field.parameter.description, field.summary].filter { !$0.isEmpty }
        if !parts.isEmpty { Text(parts.joined(separator: " · ")).font(.caption).foregroundStyle(.secondary) }
        Objection(text: field.objection)
    }

    private var hint: LocalizedStringKey { "\(field.summary) \(field.objection ?? "")" }
}
