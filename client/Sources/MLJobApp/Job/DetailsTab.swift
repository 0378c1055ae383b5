import MLJobKit
import SwiftUI

/// Everything that is recorded of a job.
struct DetailsTab: View {
    let host: HostSession
    let detail: JobDetail
    let job: Job

    var body: some View {
        Form {
            if let explanation = detail.explanation { ExplanationSection(explanation: explanation) }
            TimesSection(job: job)
            if !job.status.isFinal { UsageSection(detail: detail) }
            ValuesSection(title: "Hyperparameters", values: job.hyperparameters, empty: "The script's defaults")
            if !job.labels.isEmpty { ValuesSection(title: "Labels", values: job.labels, empty: "") }
            Group {
                if !job.inputs.isEmpty { InputsRows(host: host, inputs: job.inputs) }
                if !job.after.isEmpty { AfterRows(host: host, job: job) }
            }
            LimitsRows(limits: job.limits)
            if !job.attempts.isEmpty { AttemptsSection(job: job) }
            Group {
                ReadersSection(sharing: host.sharing(of: .job(job.id)))
                ProvenanceSection(job: job)
                CommandSection(job: job)
            }
        }
        .formStyle(.grouped)
        .task(id: job.revision) { await detail.loadExplanation() }
    }
}
