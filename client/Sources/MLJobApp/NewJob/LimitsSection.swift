import MLJobKit
import SwiftUI

/// What the job may use; an empty field is the site's.
struct LimitsSection: View {
    @Bindable var form: ScriptForm
    @State private var isExpanded = false

    var body: some View {
        Section {
            DisclosureGroup(isExpanded: $isExpanded) {
                row("Memory", $form.limits.memory, "2 GiB", "memory_bytes")
                row("CPUs", $form.limits.cpus, "1.5", "cpus")
                row("Run time", $form.limits.runTime, "1h30m", "run_time_seconds")
                row("Grace after a cancel", $form.limits.grace, "30s", "grace_seconds")
                row("Processes and threads", $form.limits.tasks, "512", "tasks")
                row("Size of files", $form.limits.artifactBytes, "10 GiB", "artifact_bytes")
                row("Number of files", $form.limits.artifactFiles, "1000", "artifact_files")
                Objection(text: form.objections["limits"])
            } label: {
                Text("Limits")
            }
        } footer: {
            Text("An empty field is the site's limit.")
        }
        .onChange(of: refused, initial: true) { _, isRefused in if isRefused { isExpanded = true } }
    }

    /// What is wrong in here must be seen.
    private var refused: Bool { form.objections.keys.contains { $0 == "limits" || $0.hasPrefix("limits.") } }

    @ViewBuilder private func row(
        _ title: LocalizedStringKey, _ text: Binding<String>, _ example: String, _ field: String
    ) -> some View {
        TextField(title, text: text, prompt: Text(example))
            .multilineTextAlignment(.trailing)
        Objection(text: form.objections["limits.\(field)"])
    }
}
