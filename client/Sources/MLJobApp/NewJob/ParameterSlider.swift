import MLJobKit
import SwiftUI

/// A number between bounds: pulled or typed.
struct ParameterSlider: View {
    @Binding var field: ParameterField
    let bounds: ClosedRange<Double>

    var body: some View {
        HStack {
            Slider(value: number, in: bounds) {
                Text(field.name)
            } minimumValueLabel: {
                Text(ParameterCheck.format(bounds.lowerBound)).font(.caption)
            } maximumValueLabel: {
                Text(ParameterCheck.format(bounds.upperBound)).font(.caption)
            }
            .labelsHidden()
            .frame(minWidth: 140)
            TextField(field.name, text: $field.value, prompt: Text(field.parameter.defaultValue ?? ""))
                .labelsHidden()
                .multilineTextAlignment(.trailing)
                .frame(maxWidth: 80)
        }
    }

    /// Pulling writes three digits; what is typed stays as it is.
    private var number: Binding<Double> {
        Binding {
            min(max(Double(field.effectiveValue) ?? bounds.lowerBound, bounds.lowerBound), bounds.upperBound)
        } set: { value in
            let digits = pow(10, (3 - log10(max(bounds.upperBound - bounds.lowerBound, 1e-12))).rounded(.up))
            field.value = ParameterCheck.format((value * digits).rounded() / digits)
        }
    }
}
