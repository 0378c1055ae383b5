import MLJobKit
import SwiftUI

/// What a script takes and needs.
struct ScriptDetail: View {
    let script: Script
    let run: () -> Void
    let sweep: () -> Void
    let schedule: () -> Void

    var body: some View {
        Form {
            Section {
                Text(script.name).font(.title3).bold()
                if !script.description.isEmpty { Text(script.description) }
                HStack {
                    Button("New Job…") { run() }
                    Button("New Sweep…") { sweep() }
                    Button("New Schedule…") { schedule() }
                }
            }
            Section("Parameters") {
                ForEach(script.parameters) { parameter in
                    LabeledContent {
                        Text(ParameterField(parameter).summary).foregroundStyle(.secondary)
                    } label: {
                        Text(parameter.name).monospaced()
                        if !parameter.description.isEmpty { Text(parameter.description).font(.caption) }
                    }
                }
                if script.anyParameters { Text("Takes any parameters.").foregroundStyle(.secondary) }
            }
            Section("Needs") {
                LabeledContent("Network", value: script.network)
                LabeledContent(
                    "Secrets", value: script.secrets.isEmpty ? "none" : script.secrets.joined(separator: ", "))
                if !script.artifacts.isEmpty {
                    LabeledContent("Must leave", value: script.artifacts.joined(separator: ", "))
                }
            }
            LimitsRows(limits: script.limits)
        }
        .formStyle(.grouped)
    }
}
