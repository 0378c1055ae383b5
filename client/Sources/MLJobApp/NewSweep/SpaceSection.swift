import MLJobKit
import SwiftUI

/// A row for each parameter that may differ from trial to trial.
struct SpaceSection: View {
    @Bindable var form: SweepForm

    var body: some View {
        Section {
            ForEach($form.dimensions) { DimensionRow(form: form, field: $0) }
            if form.script.anyParameters {
                Button("Add a Parameter") { form.dimensions.append(DimensionField(name: "")) }
            }
            if form.dimensions.isEmpty && !form.script.anyParameters {
                Text("This script has no parameters, so there is nothing to vary.").foregroundStyle(.secondary)
            }
            Objection(text: form.objections["space"])
        } header: {
            Text("Vary")
        } footer: {
            if let points = form.gridPoints { Text("A grid of \(points) points") }
        }
    }
}

/// A parameter: whether it is varied, and over what.
struct DimensionRow: View {
    let form: SweepForm
    @Binding var field: DimensionField

    var body: some View {
        Toggle(isOn: $field.isVaried) {
            if field.isFree {
                TextField("Name", text: $field.name).labelsHidden().frame(maxWidth: 180)
            } else {
                Text(field.name).monospaced()
            }
            if let parameter = field.parameter, !field.isVaried {
                Text(ParameterField(parameter).summary).font(.caption).foregroundStyle(.secondary)
            }
        }
        .toggleStyle(.switch)
        .accessibilityLabel("Vary \(field.name)")
        if field.isVaried {
            DimensionControls(field: $field)
            Objection(text: objection)
        }
    }

    private var objection: String? { field.objection(in: form.strategy) ?? form.refusal(of: field) }
}

/// A range or values.
struct DimensionControls: View {
    @Binding var field: DimensionField

    var body: some View {
        if field.mayBeRange {
            Picker("Of", selection: $field.kind) {
                ForEach(DimensionField.Kind.allCases) { Text($0.rawValue.capitalized).tag($0) }
            }
            .pickerStyle(.segmented)
            .accessibilityLabel("Kind of values of \(field.name)")
        }
        if field.kind == .range {
            RangeControls(field: $field)
        } else if field.choices.isEmpty {
            TextField("Values", text: $field.values, prompt: Text("with commas between them"))
                .autocorrectionDisabled()
                .multilineTextAlignment(.trailing)
        } else {
            ForEach(field.choices, id: \.self) { Toggle($0, isOn: isChosen($0)).toggleStyle(.checkbox) }
        }
    }

    private func isChosen(_ choice: String) -> Binding<Bool> {
        Binding {
            field.chosen.contains(choice)
        } set: {
            field.chosen = $0 ? field.chosen.union([choice]) : field.chosen.subtracting([choice])
        }
    }
}

/// The bounds of a range; an empty one is the script's.
struct RangeControls: View {
    @Binding var field: DimensionField

    var body: some View {
        if field.isFree {
            Picker("Type", selection: $field.type) {
                Text("Number").tag(ParameterType.number)
                Text("Integer").tag(ParameterType.integer)
            }
        }
        bound("From", $field.low, field.declaredLow)
        bound("To", $field.high, field.declaredHigh)
        bound("In steps of", $field.step, "")
        Toggle("Logarithmic", isOn: $field.isLogarithmic)
            .help("Each order of magnitude is as likely as another.")
    }

    private func bound(_ title: LocalizedStringKey, _ text: Binding<String>, _ declared: String) -> some View {
        TextField(title, text: text, prompt: Text(declared))
            .autocorrectionDisabled()
            .multilineTextAlignment(.trailing)
    }
}
