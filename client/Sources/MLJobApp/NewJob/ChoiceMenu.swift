import MLJobKit
import SwiftUI

/// A parameter with a few values.
struct ChoiceMenu: View {
    @Binding var field: ParameterField
    let choices: [String]

    var body: some View {
        Picker(field.name, selection: $field.value) {
            Text(placeholder).tag("")
            Divider()
            ForEach(choices, id: \.self) { Text($0).tag($0) }
        }
        .pickerStyle(.menu)
        .labelsHidden()
    }

    private var placeholder: String { field.parameter.defaultValue.map { "Default: \($0)" } ?? "Choose" }
}
