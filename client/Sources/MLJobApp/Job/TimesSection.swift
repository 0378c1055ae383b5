import MLJobKit
import SwiftUI

/// Who, when, and how it ended.
struct TimesSection: View {
    let job: Job

    var body: some View {
        Section("Job") {
            LabeledContent("ID") { CopyableText(job.id) }
            LabeledContent("Owner", value: job.owner)
            LabeledContent("State") { StatusLabel(job: job) }
            if let status = job.exitStatus { LabeledContent("Exit status", value: status, format: .number) }
            LabeledContent("Created", value: Self.words(job.createdAt))
            if let start = job.startedAt { LabeledContent("Started", value: Self.words(start)) }
            if let end = job.finishedAt { LabeledContent("Ended", value: Self.words(end)) }
            LabeledContent("Duration") { DurationCell(job: job) }
            if let removed = job.removed {
                LabeledContent("Removed", value: "Files and log, \(Self.words(removed.at))")
            }
        }
    }

    static func words(_ date: Date) -> String { date.formatted(date: .abbreviated, time: .standard) }
}
