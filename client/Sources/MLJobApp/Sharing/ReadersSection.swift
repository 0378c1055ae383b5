import MLJobKit
import SwiftUI

/// Who may read something besides its owner.
struct ReadersSection: View {
    let sharing: SharingModel
    @Environment(AppModel.self) private var app

    var body: some View {
        Section {
            if let trouble = sharing.trouble {
                Text(trouble.title).foregroundStyle(.secondary)
            } else if sharing.isLoaded {
                Text(words)
            } else {
                Text("Not known yet").foregroundStyle(.secondary)
            }
            Button("Share…") { app.sheet = .share(sharing.id) }
        } header: {
            Text("Readers")
        } footer: {
            Text("Operators and administrators of the host may read everything.")
        }
        .task { await sharing.load() }
    }

    private var words: String { sharing.readers?.words.map { "Its owner and \($0)" } ?? "Its owner alone" }
}
