import MLJobKit
import SwiftUI

/// Which script, and what it says of itself.
struct FormHeading: View {
    let form: ScriptForm

    var body: some View {
        Section {
            VStack(alignment: .leading, spacing: 4) {
                Text(form.original.map { "Run \($0.title) again" } ?? form.script.name).font(.title3).bold()
                if !form.script.description.isEmpty { Text(form.script.description).foregroundStyle(.secondary) }
                if !form.script.secrets.isEmpty {
                    Label("Uses the secrets \(form.script.secrets.joined(separator: ", "))", systemImage: "key")
                        .font(.caption)
                }
                Objection(text: form.objections["script_name"])
            }
            .accessibilityElement(children: .combine)
        }
    }
}
