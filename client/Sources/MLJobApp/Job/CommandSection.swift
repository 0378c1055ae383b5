import MLJobKit
import SwiftUI

/// The same job as a command, for a script or a colleague.
struct CommandSection: View {
    let job: Job

    var body: some View {
        Section {
            Text(job.command)
                .monospaced()
                .textSelection(.enabled)
                .lineLimit(1...6)
            Button("Copy as Command") { Pasteboard.copy(job.command) }
        } header: {
            Text("Command")
        } footer: {
            Text("Runs the same commit with the same values in a terminal.")
        }
    }
}
