import MLJobKit
import SwiftUI

/// How often a job is run while it ends for one of some reasons.
struct RetriesSection: View {
    @Bindable var form: ScriptForm

    var body: some View {
        Section {
            Stepper("Attempts: \(form.maxAttempts)", value: $form.maxAttempts, in: 1...10)
            if form.maxAttempts > 1 {
                ForEach(Reason.retryable, id: \.self) { reason in
                    Toggle(isOn: includes(reason)) {
                        Text(reason.rawValue).monospaced()
                        Text(reason.explanation).font(.caption).foregroundStyle(.secondary)
                    }
                }
            }
            Objection(text: form.objections["max_attempts"] ?? form.objections["retry_on"])
        } footer: {
            if form.maxAttempts > 1 { Text("The job is tried again while it ends for one of these reasons.") }
        }
    }

    private func includes(_ reason: Reason) -> Binding<Bool> {
        Binding {
            form.retryOn.contains(reason)
        } set: {
            if $0 { form.retryOn.insert(reason) } else { form.retryOn.remove(reason) }
        }
    }
}
