import Foundation
import MLJobKit
import Testing

@testable import MLJobApp

/// What the windows share, before there is a host and where its key is gone.
@MainActor
struct AppModelTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)

    /// A keychain that has lost everything.
    private struct EmptyVault: IdentityVault {
        func makeKey(label: String) throws -> any SigningKey { throw VaultError.refused("locked") }
        func store(certificate: Data, for key: any SigningKey, label: String) throws -> String {
            throw VaultError.refused("locked")
        }
        func importPKCS12(_ file: Data, password: String, label: String) throws -> ImportedIdentity {
            throw VaultError.wrongPassword
        }
        func remove(_ identity: String) throws {}
        func transport(to address: URL, as identity: String?, trusting trust: ServerTrust) throws -> any HTTPTransport {
            throw VaultError.noIdentity("gone")
        }
    }

    private func app() -> AppModel { AppModel(vault: EmptyVault(), folder: folder) }

    @Test func withoutAHostTheConnectionIsAskedFor() {
        let app = app()
        app.start()
        #expect(app.sheet?.id == "connect")
        #expect(app.host == nil)
    }

    @Test func withoutAHostNoJobIsBegun() {
        let app = app()
        app.compose()
        #expect(app.sheet == nil)
    }

    @Test func aHostWhoseKeyIsGoneIsKeptAndSaysSo() throws {
        let host = HostConfiguration(
            name: "ml.example.net", address: URL(string: "https://ml.example.net:8443")!, user: "alice", identity: "x",
            certificate: Data(), authorities: [Data("authority".utf8)])
        try HostsFile(url: folder.appendingPathComponent("hosts.json")).save([host])
        let app = app()
        app.start()
        #expect(app.sheet == nil)
        #expect(app.hosts.names == [host])
        #expect(app.hosts.broken[host.id]?.kind == .identityMissing)
        #expect(app.hosts.broken[host.id]?.needsCertificate == true)
    }

    @Test func aDroppedFileIsHandedToTheSheet() {
        let app = app()
        let file = URL(fileURLWithPath: "/tmp/alice.p12")
        app.connect(file: file)
        guard case .connect(let invitation, let dropped)? = app.sheet else { return #expect(Bool(false)) }
        #expect(invitation.isEmpty)
        #expect(dropped == file)
    }

    @Test func aDeedThatFailsIsShown() {
        let app = app()
        app.attempt { throw VaultError.wrongPassword }
        #expect(app.trouble?.kind == .wrongPassword)
        app.attempt {}
        #expect(app.trouble != nil, "until its alert is closed")
    }

    @Test func severalSelectedJobsAreNone() {
        let app = app()
        app.selectedJob = "a"
        #expect(app.selectedJobs == ["a"])
        app.selectedJobs.insert("b")
        #expect(app.selectedJob == nil)
        app.selectedJob = nil
        #expect(app.selectedJobs.isEmpty)
    }

    @Test func onlyTheListOfJobsHasASelectedJob() {
        let app = app()
        app.selectedJob = "k3v7q2m5x4ab"
        app.place = .secrets
        #expect(app.job == nil)
    }
}
