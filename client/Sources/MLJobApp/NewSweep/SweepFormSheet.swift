import MLJobKit
import SwiftUI

/// The form of a sweep, and what is sent.
struct SweepFormSheet: View {
    let host: HostSession
    @Bindable var form: SweepForm
    @Environment(AppModel.self) private var app
    @Environment(\.dismiss) private var dismiss
    @State private var isSending = false
    @State private var trouble: Trouble?

    var body: some View {
        Form {
            FormHeading(form: form.job)
            ObjectiveSection(form: form)
            SpaceSection(form: form)
            StrategySection(form: form)
            ParametersSection(form: form.job, leftOut: Set(form.varied.map(\.name)), title: "Fixed hyperparameters")
            NameSection(form: form.job)
            InputsSection(host: host, form: form.job)
            LimitsSection(form: form.job)
            RetriesSection(form: form.job)
            if let trouble { RefusalSection(trouble: trouble) }
        }
        .formStyle(.grouped)
        .frame(width: 600, height: 680)
        .interactiveDismissDisabled(isSending)
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button("Start") { Task { await send() } }
                    .disabled(isSending || !form.isValid)
                    .help(form.isValid ? "Starts the sweep (⏎)" : "Some values are not right yet.")
            }
        }
    }

    private func send() async {
        isSending = true
        defer { isSending = false }
        do {
            let sweep = try await host.submit(form)
            if let sweep { app.showSweep(sweep.id) }
            dismiss()
        } catch {
            trouble = Trouble(error, host.context)
        }
    }
}
