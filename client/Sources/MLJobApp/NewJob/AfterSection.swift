import MLJobKit
import SwiftUI

/// The jobs for which the new one waits.
struct AfterSection: View {
    let host: HostSession
    @Bindable var form: ScriptForm

    var body: some View {
        Section {
            ForEach($form.earlier.after) { AfterRow(host: host, form: form, field: $0) }
            HStack {
                JobsMenu(title: "Wait for a Job", jobs: host.jobs.unfinished()) { form.earlier.wait(for: $0) }
                Button("Another ID") { form.earlier.after.append(AfterField()) }
            }
            Objection(text: form.objections["after"])
        } header: {
            Text("After")
        } footer: {
            Text("It starts when all of these have completed. If one ends otherwise, it is cancelled.")
        }
    }
}

/// One of these jobs.
struct AfterRow: View {
    let host: HostSession
    let form: ScriptForm
    @Binding var field: AfterField

    var body: some View {
        HStack {
            TextField("Job", text: $field.jobID, prompt: Text("its ID")).autocorrectionDisabled().monospaced()
            if let job = host.jobs.jobs[field.jobID] { Text(job.title).foregroundStyle(.secondary).lineLimit(1) }
            Button(role: .destructive) {
                form.earlier.after.removeAll { $0.id == field.id }
            } label: {
                Label("Remove", systemImage: "minus.circle").labelStyle(.iconOnly)
            }
            .buttonStyle(.borderless)
        }
        Objection(text: field.objection)
    }
}
