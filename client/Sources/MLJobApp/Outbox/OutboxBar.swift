import MLJobKit
import SwiftUI

/// Submissions that have not arrived yet: nobody wonders whether a job was lost.
struct OutboxBar: View {
    let outbox: Outbox

    var body: some View {
        ForEach(outbox.entries) { entry in
            OutboxRow(outbox: outbox, entry: entry)
        }
    }
}

struct OutboxRow: View {
    let outbox: Outbox
    let entry: Outbox.Entry

    var body: some View {
        HStack(spacing: 8) {
            if entry.isSending {
                ProgressView().controlSize(.small).accessibilityLabel("Sending")
            } else {
                Image(systemName: "paperplane").foregroundStyle(.secondary)
            }
            Text(entry.title).bold()
            Text(words).foregroundStyle(.secondary)
            Spacer()
            Button("Try Now") { Task { await outbox.retry(entry.id) } }
                .disabled(entry.isSending)
            Button("Discard", role: .destructive) { outbox.discard(entry.id) }
                .disabled(entry.isSending)
                .help("A request that is under way may still be accepted.")
        }
        .lineLimit(1)
        .padding(.horizontal, 8)
        .padding(.vertical, 4)
        .background(.bar)
        .accessibilityElement(children: .contain)
        .accessibilityLabel("Submission \(entry.title)")
    }

    private var words: String {
        if entry.isSending { return "is being sent" }
        guard let trouble = entry.trouble else { return "waits for the connection" }
        return trouble.mayPass ? "waits: \(trouble.title)" : "\(trouble.title) \(trouble.advice)"
    }
}
