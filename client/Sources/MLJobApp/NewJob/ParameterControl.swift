import MLJobKit
import SwiftUI

/// The control that fits what a parameter takes. Each shows the default while nothing is given.
struct ParameterControl: View {
    @Binding var field: ParameterField

    var body: some View {
        switch field.control {
        case .toggle:
            Toggle(field.name, isOn: isOn).labelsHidden().toggleStyle(.switch)
        case .menu(let choices):
            ChoiceMenu(field: $field, choices: choices)
        case .stepper(let bounds):
            HStack {
                text.frame(maxWidth: 90)
                Stepper(value: whole(bounds), in: bounds) { Text(field.name) }.labelsHidden()
            }
        case .slider(let bounds):
            ParameterSlider(field: $field, bounds: bounds)
        case .secret:
            SecureField("Value", text: $field.value, prompt: Text(field.parameter.defaultValue ?? "")).labelsHidden()
        case .text:
            text
        }
    }

    private var text: some View {
        TextField(field.name, text: $field.value, prompt: Text(field.parameter.defaultValue ?? ""))
            .labelsHidden()
            .autocorrectionDisabled()
            .multilineTextAlignment(.trailing)
    }

    private var isOn: Binding<Bool> {
        Binding {
            field.effectiveValue == "true"
        } set: {
            field.value = $0 ? "true" : "false"
        }
    }

    private func whole(_ bounds: ClosedRange<Int>) -> Binding<Int> {
        Binding {
            min(max(Int(field.effectiveValue) ?? bounds.lowerBound, bounds.lowerBound), bounds.upperBound)
        } set: {
            field.value = String($0)
        }
    }
}
