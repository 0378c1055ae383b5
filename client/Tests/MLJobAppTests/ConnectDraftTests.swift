import Foundation
import Testing

@testable import MLJobApp

@MainActor
struct ConnectDraftTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)

    private func file(_ name: String, _ content: String = "x") throws -> URL {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let file = folder.appendingPathComponent(name)
        try Data(content.utf8).write(to: file)
        return file
    }

    @Test func anInvitationThatWasOpenedIsFilledIn() {
        let draft = ConnectDraft("ml-job://host:8443/enrol?code=a")
        #expect(draft.invitation == "ml-job://host:8443/enrol?code=a")
        #expect(draft.file == nil)
    }

    @Test func aDroppedFileTakesThePlaceOfTheInvitation() throws {
        let p12 = try file("alice.P12")
        #expect(ConnectDraft("", file: p12).file == p12)
    }

    @Test func anAuthorityIsTakenBesideTheFile() throws {
        let draft = ConnectDraft()
        #expect(draft.take([try file("alice.p12"), try file("ca.crt", "authority")]))
        #expect(draft.authority == Data("authority".utf8))
        #expect(draft.file?.lastPathComponent == "alice.p12")
    }

    @Test func otherFilesAreNotTaken() throws {
        let draft = ConnectDraft()
        #expect(!draft.take([try file("model.bin")]))
        #expect(draft.file == nil)
        #expect(draft.authority == nil)
    }

    @Test func aFileThatCannotBeReadIsSaidSo() {
        let draft = ConnectDraft()
        #expect(!draft.take([folder.appendingPathComponent("absent.crt")]))
        #expect(draft.readingTrouble?.title.contains("absent.crt") == true)
    }

    @Test func aFileThatIsGivenUpTakesItsPasswordAlong() throws {
        let draft = ConnectDraft("", file: try file("alice.p12"))
        draft.password = "secret"
        draft.forgetFile()
        #expect(draft.file == nil)
        #expect(draft.password.isEmpty)
    }
}
