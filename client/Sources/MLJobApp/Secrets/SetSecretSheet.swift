import MLJobKit
import SwiftUI

/// A secret's name and value: typed, or a file's content as it is.
struct SetSecretSheet: View {
    let host: HostSession
    @Environment(\.dismiss) private var dismiss
    @State private var name = ""
    @State private var value = ""
    @State private var file: URL?
    @State private var isChoosing = false
    @State private var isSending = false
    @State private var trouble: Trouble?

    var body: some View {
        Form {
            Section {
                TextField("Name", text: $name, prompt: Text("snowflake")).autocorrectionDisabled()
                Objection(text: trouble?.message(for: "name"))
                if let file {
                    LabeledContent("Value", value: file.lastPathComponent)
                } else {
                    SecureField("Value", text: $value)
                }
                Objection(text: trouble?.message(for: "value"))
                Button("Take a File's Content…") { isChoosing = true }
            } footer: {
                Text("It replaces an earlier value. Jobs that run keep what they began with.")
            }
            if let trouble { RefusalSection(trouble: trouble) }
        }
        .formStyle(.grouped)
        .frame(width: 460)
        .fixedSize(horizontal: false, vertical: true)
        .interactiveDismissDisabled(isSending)
        .fileImporter(isPresented: $isChoosing, allowedContentTypes: [.item]) { file = try? $0.get() }
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button("Set") { Task { await send() } }
                    .disabled(isSending || name.isEmpty || (value.isEmpty && file == nil))
            }
        }
    }

    private func send() async {
        isSending = true
        defer { isSending = false }
        do {
            _ = try await host.setSecret(name, to: try content())
            dismiss()
        } catch {
            trouble = Trouble(error, host.context)
        }
    }

    private func content() throws -> Data {
        guard let file else { return Data(value.utf8) }
        let isScoped = file.startAccessingSecurityScopedResource()
        defer { if isScoped { file.stopAccessingSecurityScopedResource() } }
        return try Data(contentsOf: file)
    }
}
