import MLJobKit
import SwiftUI

/// From an invitation or a `.p12` to a host.
struct ConnectSheet: View {
    let hosts: Hosts
    @State private var enrolment: EnrolmentModel
    @State private var draft: ConnectDraft
    @Environment(AppModel.self) private var app
    @Environment(\.dismiss) private var dismiss

    init(hosts: Hosts, draft: ConnectDraft) {
        self.hosts = hosts
        _enrolment = State(initialValue: EnrolmentModel(hosts: hosts))
        _draft = State(initialValue: draft)
    }

    var body: some View {
        Form {
            if let file = draft.file {
                PKCS12Section(draft: draft, file: file)
            } else {
                InvitationSection(draft: draft, isRecognised: enrolment.recognises(draft.invitation))
            }
            ConnectPhase(enrolment: enrolment)
        }
        .formStyle(.grouped)
        .frame(width: 520)
        .fixedSize(horizontal: false, vertical: true)
        .interactiveDismissDisabled(enrolment.isWorking)
        .dropDestination(for: URL.self) { files, _ in draft.take(files) }
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button("Connect") { Task { await connect() } }
                    .disabled(enrolment.isWorking || !isComplete)
            }
        }
        .onChange(of: enrolment.phase) { _, phase in
            guard case .done(let host) = phase else { return }
            app.select(host)
            dismiss()
        }
    }

    private var isComplete: Bool {
        draft.file == nil
            ? enrolment.recognises(draft.invitation)
            : !draft.password.isEmpty && EnrolmentModel.address(draft.address) != nil
    }

    private func connect() async {
        guard let file = draft.file else { return await enrolment.enrol(draft.invitation) }
        guard let content = draft.read(file) else { return }
        await enrolment.importPKCS12(
            content, password: draft.password, address: draft.address, authorities: draft.authority)
    }
}
