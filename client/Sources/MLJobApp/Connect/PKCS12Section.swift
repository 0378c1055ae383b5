import MLJobKit
import SwiftUI

/// A `.p12`: its password, and the host that it is for.
struct PKCS12Section: View {
    @Bindable var draft: ConnectDraft
    let file: URL
    @FocusState private var isFocused: Bool

    var body: some View {
        Section {
            LabeledContent("File") {
                HStack {
                    Text(file.lastPathComponent)
                    Button("Use an Invitation Instead") { draft.forgetFile() }.buttonStyle(.link)
                }
            }
            SecureField("Password", text: $draft.password, prompt: Text("as your administrator told you"))
                .focused($isFocused)
                .onAppear { isFocused = true }
            TextField("Host", text: $draft.address, prompt: Text("ml.example.net:8443"))
                .autocorrectionDisabled()
            LabeledContent("Authority", value: draft.authority == nil ? "from the file" : "from ca.crt")
        } header: {
            Text("Connect with a certificate")
        } footer: {
            Text("Drop ca.crt here, too, where the file has no authority. The app keeps the key in your keychain.")
        }
        if let trouble = draft.readingTrouble { RefusalSection(trouble: trouble) }
    }
}
