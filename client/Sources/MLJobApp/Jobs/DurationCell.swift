import MLJobKit
import SwiftUI

/// How long a job has run. A running one counts by itself.
struct DurationCell: View {
    let job: Job

    var body: some View {
        Group {
            if let start = job.startedAt, !job.status.isFinal {
                Text(start, style: .timer)
            } else if let seconds = job.duration() {
                Text(Self.words(seconds))
            } else {
                Text("–").accessibilityLabel("Not started")
            }
        }
        .monospacedDigit()
    }

    /// `1h 30m`, `2m 5s`.
    static func words(_ seconds: TimeInterval) -> String {
        Duration.seconds(seconds.rounded()).formatted(
            .units(allowed: [.days, .hours, .minutes, .seconds], width: .narrow))
    }
}
