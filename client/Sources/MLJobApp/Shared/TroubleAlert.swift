import MLJobKit
import SwiftUI

extension View {
    /// An alert for as long as there is trouble; closing it sets it to nil.
    func troubleAlert(_ title: LocalizedStringKey, _ trouble: Binding<Trouble?>) -> some View {
        let isPresented = Binding(get: { trouble.wrappedValue != nil }, set: { if !$0 { trouble.wrappedValue = nil } })
        return alert(title, isPresented: isPresented, presenting: trouble.wrappedValue) { _ in
            Button("OK") { trouble.wrappedValue = nil }
        } message: { trouble in
            Text(trouble.sentences)
        }
    }
}

extension Trouble {
    /// Everything a person should read, in one text.
    var sentences: String {
        let refused = fields.map { "\($0.field): \($0.message)" }
        return ([title, advice] + refused).filter { !$0.isEmpty }.joined(separator: "\n")
    }

    var symbol: String {
        switch kind {
        case .unreachable, .connectionLost, .slowServer: "wifi.slash"
        case .wrongName, .foreignServer, .serverCertificateExpired: "lock.slash"
        case .clockWrong: "clock.badge.exclamationmark"
        case .certificateExpired, .certificateRefused, .identityMissing: "person.crop.circle.badge.xmark"
        case .wrongPassword, .damagedFile, .noAuthority, .keychain, .badInvitation, .invitationRefused: "key.slash"
        case .notFound, .gone: "questionmark.folder"
        case .diskFull, .cannotWrite, .damagedDownload: "externaldrive.badge.xmark"
        case .tooMany, .busy: "hourglass"
        default: "exclamationmark.triangle"
        }
    }
}
