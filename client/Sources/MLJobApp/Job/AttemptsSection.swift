import MLJobKit
import SwiftUI

/// Earlier attempts of a job that was tried more than once.
struct AttemptsSection: View {
    let job: Job

    var body: some View {
        Section("Attempts, \(job.attempt) of \(job.maxAttempts)") {
            ForEach(job.attempts) { attempt in
                LabeledContent("Attempt \(attempt.number)") {
                    VStack(alignment: .trailing) {
                        Text(attempt.reason?.explanation ?? "Ended")
                        Text(TimesSection.words(attempt.finishedAt)).font(.caption).foregroundStyle(.secondary)
                    }
                }
            }
            if let next = job.notBefore {
                LabeledContent("Next attempt", value: "Not before \(TimesSection.words(next))")
            }
        }
    }
}
