import Foundation
import MLJobKit
import Observation

/// What a person has pasted, dropped and typed so far.
@MainActor @Observable
final class ConnectDraft {
    var invitation = ""
    /// A dropped or chosen `.p12`; where there is one, there is no invitation.
    private(set) var file: URL?
    var password = ""
    var address = ""
    /// The content of a dropped `ca.crt`, for a `.p12` without an authority.
    private(set) var authority: Data?
    private(set) var readingTrouble: Trouble?

    init(_ invitation: String = "", file: URL? = nil) {
        self.invitation = invitation
        if let file { _ = take([file]) }
    }

    /// Takes a `.p12`, and certificates beside it. Whether any of the files was of use.
    func take(_ files: [URL]) -> Bool {
        var isUsed = false
        for file in files {
            switch file.pathExtension.lowercased() {
            case "p12", "pfx":
                self.file = file
                isUsed = true
            case "crt", "pem", "cer":
                authority = read(file)
                isUsed = isUsed || authority != nil
            default: break
            }
        }
        return isUsed
    }

    func forgetFile() {
        file = nil
        password = ""
    }

    /// A file that the person has chosen; nil where it cannot be read, and `readingTrouble` says why.
    func read(_ file: URL) -> Data? {
        let isScoped = file.startAccessingSecurityScopedResource()
        defer { if isScoped { file.stopAccessingSecurityScopedResource() } }
        do {
            readingTrouble = nil
            return try Data(contentsOf: file)
        } catch {
            readingTrouble = Trouble(
                .damagedFile, "\(file.lastPathComponent) cannot be read.", advice: "Choose the file again.",
                detail: error.localizedDescription)
            return nil
        }
    }
}
