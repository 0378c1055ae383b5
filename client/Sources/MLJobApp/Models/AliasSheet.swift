import MLJobKit
import SwiftUI

/// Points an alias of a model at a file that a job has left.
struct AliasSheet: View {
    let host: HostSession
    let target: AliasTarget
    @Environment(AppModel.self) private var app
    @Environment(\.dismiss) private var dismiss
    @State private var form = AliasForm()
    @State private var isSending = false
    @State private var trouble: Trouble?

    var body: some View {
        Form {
            Section {
                TextField("Model", text: $form.model, prompt: Text("churn")).autocorrectionDisabled()
                Objection(
                    text: form.model.isEmpty ? nil : form.objections["model"] ?? trouble?.message(for: "model"))
                TextField("Alias", text: $form.alias, prompt: Text("champion")).autocorrectionDisabled()
                Objection(text: form.objections["alias"] ?? trouble?.message(for: "alias"))
                Objection(text: trouble?.message(for: "path") ?? trouble?.message(for: "job_id"))
            } header: {
                Text("Use \(target.path) as model")
            } footer: {
                Text(footer)
            }
            if let trouble { RefusalSection(trouble: trouble) }
        }
        .formStyle(.grouped)
        .frame(width: 460)
        .fixedSize(horizontal: false, vertical: true)
        .interactiveDismissDisabled(isSending)
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button(current == nil ? "Make Alias" : "Move Alias") { Task { await send() } }
                    .disabled(isSending || !form.objections.isEmpty)
            }
        }
        .onChange(of: form) { trouble = nil }
        .task { await host.models.load() }
    }

    private var current: ModelAlias? { host.models.alias(at: form.address) }

    private var footer: String {
        guard let current else { return "The job is kept for as long as an alias points at it." }
        return "It points at \(current.path) of job \(current.jobID) now. Everybody who asks for it gets the new file."
    }

    private func send() async {
        isSending = true
        defer { isSending = false }
        do {
            try await host.models.move(form.address, to: target)
            dismiss()
        } catch {
            trouble = Trouble(error, host.context)
        }
    }
}
