import MLJobKit
import SwiftUI

/// Where an invitation is pasted, or a `.p12` is chosen instead.
struct InvitationSection: View {
    @Bindable var draft: ConnectDraft
    let isRecognised: Bool
    @State private var isChoosing = false
    @FocusState private var isFocused: Bool

    var body: some View {
        Section {
            TextField("Invitation", text: $draft.invitation, prompt: Text("ml-job://…"))
                .autocorrectionDisabled()
                .focused($isFocused)
                .onAppear { isFocused = true }
            if !draft.invitation.isEmpty && !isRecognised {
                Objection(text: "This is no whole invitation. Copy the link again, from ml-job:// to its end.")
            }
        } header: {
            Text("Connect to a host")
        } footer: {
            Text(
                "Your administrator sends the invitation. It is good once: the key that the app makes stays on this Mac."
            )
        }
        Section {
            LabeledContent("Or with a file") {
                Button("Choose a .p12…") { isChoosing = true }
            }
        }
        .fileImporter(isPresented: $isChoosing, allowedContentTypes: [.pkcs12]) { result in
            if case .success(let file) = result { _ = draft.take([file]) }
        }
    }
}
