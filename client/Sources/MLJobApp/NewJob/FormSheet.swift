import MLJobKit
import SwiftUI

/// The form of a script, and what is sent.
struct FormSheet: View {
    let host: HostSession
    @Bindable var form: ScriptForm
    @Environment(AppModel.self) private var app
    @Environment(\.dismiss) private var dismiss
    @State private var isSending = false
    @State private var trouble: Trouble?

    var body: some View {
        Form {
            FormHeading(form: form)
            ParametersSection(form: form)
            NameSection(form: form)
            if form.original == nil {
                InputsSection(host: host, form: form)
                AfterSection(host: host, form: form)
            }
            LimitsSection(form: form)
            RetriesSection(form: form)
            if form.original != nil { ChangesSection(form: form) }
            if let trouble { RefusalSection(trouble: trouble) }
        }
        .formStyle(.grouped)
        .frame(width: 560, height: 620)
        .interactiveDismissDisabled(isSending)
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button(form.original == nil ? "Start" : "Run Again") { Task { await send() } }
                    .disabled(isSending || !form.isValid)
                    .help(form.isValid ? "Starts the job (⏎)" : "Some values are not right yet.")
            }
        }
    }

    private func send() async {
        isSending = true
        defer { isSending = false }
        do {
            let job = try await host.submit(form)
            if let job { app.show(JobAddress(host: host.id, job: job.id)) }
            dismiss()
        } catch {
            trouble = Trouble(error, host.context)
        }
    }
}
