import MLJobKit
import SwiftUI

/// Gives others the right to read, and takes it away.
struct SharingSheet: View {
    let host: HostSession
    @Bindable var sharing: SharingModel
    @Environment(\.dismiss) private var dismiss
    @State private var isSending = false
    @State private var trouble: Trouble?

    var body: some View {
        Form {
            Section {
                Toggle("Everybody with a certificate of this host", isOn: $sharing.everybody)
                Objection(text: sharing.objections["everybody"])
                ForEach($sharing.users) { ReaderRow(sharing: sharing, user: $0) }
                Button("Add a User") { sharing.users.append(SharingModel.User()) }
                Objection(text: sharing.objections["users"])
            } header: {
                Text(title)
            } footer: {
                Text(footer)
            }
            if let trouble = trouble ?? sharing.trouble { RefusalSection(trouble: trouble) }
        }
        .formStyle(.grouped)
        .frame(width: 460)
        .fixedSize(horizontal: false, vertical: true)
        .interactiveDismissDisabled(isSending)
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button("Save") { Task { await save() } }
                    .disabled(isSending || !sharing.isLoaded || !sharing.isValid || !sharing.isChanged)
            }
        }
        .task { await sharing.begin() }
    }

    private var title: LocalizedStringKey {
        switch sharing.id {
        case .job(let id): "Who may read job \(id)"
        case .sweep(let id): "Who may read sweep \(id)"
        case .model(let name): "Who may read the model \(name)"
        }
    }

    private var footer: LocalizedStringKey {
        switch sharing.id {
        case .job: "They see its record, log, metrics and files, and can change nothing."
        case .sweep: "They see the sweep and all its trials, with logs and files, and can change nothing."
        case .model: "They can use what its aliases point at, and see nothing else of the jobs."
        }
    }

    private func save() async {
        isSending = true
        defer { isSending = false }
        do {
            try await sharing.save()
            if case .model = sharing.id { await host.models.load() }
            dismiss()
        } catch {
            trouble = Trouble(error, host.context)
        }
    }
}

/// A user by name.
struct ReaderRow: View {
    let sharing: SharingModel
    @Binding var user: SharingModel.User

    var body: some View {
        HStack {
            TextField("User", text: $user.name, prompt: Text("bob")).autocorrectionDisabled()
            Button(role: .destructive) {
                sharing.users.removeAll { $0.id == user.id }
            } label: {
                Label("Remove", systemImage: "minus.circle").labelStyle(.iconOnly)
            }
            .buttonStyle(.borderless)
        }
        Objection(text: user.objection)
    }
}
