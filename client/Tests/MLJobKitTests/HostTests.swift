#if os(Linux)  // openssl(1) and libcurl
    import Foundation
    import MLJobKitCurl
    import Testing

    @testable import MLJobKit

    /// Real keys in a folder, and scripted hosts behind the connections.
    final class ScriptedVault: IdentityVault, @unchecked Sendable {
        typealias Handler = @Sendable (HTTPRequest, _ identity: String?, _ trust: ServerTrust) throws ->
            ScriptedTransport.Answer

        let keys: FolderVault
        private let handler: Handler
        private let lock = NSLock()
        private var made: [ScriptedTransport] = []

        init(_ folder: URL, _ handler: @escaping Handler) throws {
            keys = try FolderVault(folder: folder)
            self.handler = handler
        }

        var transports: [ScriptedTransport] { lock.withLock { made } }

        func makeKey(label: String) throws -> any SigningKey { try keys.makeKey(label: label) }
        func store(certificate: Data, for key: any SigningKey, label: String) throws -> String {
            try keys.store(certificate: certificate, for: key, label: label)
        }
        func importPKCS12(_ file: Data, password: String, label: String) throws -> ImportedIdentity {
            try keys.importPKCS12(file, password: password, label: label)
        }
        func remove(_ identity: String) throws { try keys.remove(identity) }

        func transport(to address: URL, as identity: String?, trusting trust: ServerTrust) throws -> any HTTPTransport {
            if let identity, try !keys.identities().contains(identity) { throw VaultError.noIdentity(identity) }
            let handler = handler
            let transport = ScriptedTransport { request, _ in try handler(request, identity, trust) }
            lock.withLock { made.append(transport) }
            return transport
        }
    }

    /// What a host answers: a list that stays open, and certificates as its authority signs them.
    struct ScriptedHost: Sendable {
        let pki: PKI
        let days: Int

        init(days: Int = 30) throws {
            pki = try PKI()
            self.days = days
        }

        static let host = """
            {"versions":{"agent":"1"},"capacity":{"jobs":1,"cpus":1,"memory_bytes":1},
             "in_use":{"jobs":0,"cpus":0,"memory_bytes":0},"waiting":0,"running":0,"users":[]}
            """

        func answer(_ request: HTTPRequest) throws -> ScriptedTransport.Answer {
            switch (request.method, request.target.split(separator: "?")[0]) {
            case ("GET", "/host"): return .json(Self.host)
            case ("GET", "/events"):
                return .open(Sample.event("reset", #"{"why":""}"#), Sample.event("current", "{}", id: "1-e"))
            case ("GET", "/scripts"):
                return .json(
                    #"{"commit":"c0ffee","scripts":[{"script_name":"train.py","parameters":[{"name":"depth"}]}]}"#)
            case ("GET", "/secrets"): return .json(#"{"secrets":[]}"#)
            case ("POST", "/enrolment"), ("POST", "/certificate"): return try issue(request)
            case ("POST", "/jobs"): return .json(Sample.jobJSON("new", "PENDING"), status: 202)
            case ("POST", _): return .json(Sample.jobJSON("again", "PENDING"), status: 202)
            default: return .problem(404, "no-such-route", "There is no such call.")
            }
        }

        private func issue(_ request: HTTPRequest) throws -> ScriptedTransport.Answer {
            let body = try JSONDecoder().decode(CertificateRequest.self, from: request.body ?? Data())
            let certificate = try pki.sign(body.csr, user: "alice", days: days)
            let authorities = try String(decoding: pki.pem("ca"), as: UTF8.self)
            let answer: [String: Any] = [
                "certificate": certificate, "ca_certificates": authorities, "serial": "1", "expires_at": Sample.time,
            ]
            return .json(Sample.json(answer), status: 201)
        }

        func fingerprint() throws -> String { try pki.der("ca").sha256 }

        func invitation(_ fingerprint: String? = nil) throws -> String {
            "ml-job://ml.example.net:8443/enrol?code=once&ca=\(try fingerprint ?? self.fingerprint())"
        }
    }

    @MainActor @Suite(.timeLimit(.minutes(5))) struct EnrolmentTests {
        let scratch: Scratch
        let host: ScriptedHost
        let vault: ScriptedVault
        let hosts: Hosts

        init() throws {
            scratch = try Scratch()
            let host = try ScriptedHost()
            self.host = host
            vault = try ScriptedVault(scratch.file("keys")) { request, _, _ in try host.answer(request) }
            hosts = Hosts(vault: vault, folder: scratch.file("app"))
        }

        func model(_ handler: @escaping ScriptedVault.Handler) throws -> (EnrolmentModel, ScriptedVault) {
            let vault = try ScriptedVault(scratch.file("other"), handler)
            return (EnrolmentModel(hosts: Hosts(vault: vault, folder: scratch.file("elsewhere"))), vault)
        }

        @Test func anInvitationMakesAHost() async throws {
            let model = EnrolmentModel(hosts: hosts)
            #expect(model.recognises(try host.invitation()) && !model.recognises("hello") && hosts.isEmpty)
            await model.enrol("Please open \(try host.invitation()) soon.", name: "Lab")
            let session = try #require(hosts.selected)
            #expect(model.phase == .done(session.id) && !model.isWorking && model.trouble == nil)
            #expect(session.configuration.user == "alice" && session.configuration.name == "Lab")
            #expect(session.configuration.address.absoluteString == "https://ml.example.net:8443")
            #expect(try session.configuration.authorities == [host.pki.der("ca")])
            let request = try #require(vault.transports.first?.requests.first)
            #expect(request.target == "/enrolment" && request.headers["Authorization"] == "Bearer once")
            try await shown { session.connection.isConnected }
            session.close()
            model.reset()
            #expect(model.phase == .ready)
        }

        @Test func hostsAreThereAfterARestart() async throws {
            let model = EnrolmentModel(hosts: hosts)
            await model.enrol(try host.invitation())
            for session in hosts.sessions { session.close() }
            let again = Hosts(vault: vault, folder: scratch.file("app"))
            again.load()
            #expect(
                again.sessions.map(\.id) == hosts.sessions.map(\.id) && again.names == hosts.names
                    && again.trouble == nil)
            let id = try #require(again.sessions.first?.id)
            try again.rename(id, to: "Other")
            #expect(again.names.first?.name == "Other" && again.sessions.first?.configuration.name == "Other")
            again.sleep()
            again.wake()
            try again.remove(id)
            #expect(again.isEmpty && again.selected == nil)
            #expect(try vault.keys.identities().isEmpty, "its key is forgotten")
        }

        @Test func aSecondInvitationReplacesTheHost() async throws {
            let model = EnrolmentModel(hosts: hosts)
            await model.enrol(try host.invitation())
            await model.enrol(try host.invitation())
            #expect(try hosts.sessions.count == 1 && vault.keys.identities().count == 1)
            for session in hosts.sessions { session.close() }
        }

        @Test func aUsedCodeIsSaid() async throws {
            let (model, vault) = try model { _, _, _ in .problem(401, "enrolment-refused", "This code was used.") }
            await model.enrol(try host.invitation())
            #expect(model.trouble?.kind == .invitationRefused && model.trouble?.title == "This code was used.")
            #expect(try vault.keys.identities().isEmpty)
        }

        @Test func anotherServerIsSaid() async throws {
            let (model, _) = try model { _, _, trust in
                guard case .fingerprint = trust else { return .json("{}") }
                throw TransportError.serverUntrusted(.authority, "the server does not show the expected authority")
            }
            await model.enrol(try host.invitation())
            #expect(model.trouble?.kind == .foreignServer)
        }

        @Test func anAnswerWithAnotherAuthorityIsRefused() async throws {
            let model = EnrolmentModel(hosts: hosts)
            await model.enrol(try host.invitation(String(repeating: "ab", count: 32)))
            #expect(model.trouble?.kind == .foreignServer && hosts.isEmpty)
        }

        @Test(arguments: [
            #"{"certificate":"","ca_certificates":"","serial":"1","expires_at":"2026-01-01T00:00:00.000Z"}"#, "{}",
        ]) func aBadAnswerIsSaid(_ answer: String) async throws {
            let (model, _) = try model { _, _, _ in .json(answer, status: 201) }
            await model.enrol(try host.invitation())
            #expect(model.trouble?.kind == .agentNewer)
        }

        @Test func aCertificateForAnotherKeyIsRefused() async throws {
            let other = try CertificateRequest(key: vault.makeKey(label: "other"), commonName: "x")
            let certificate = try host.pki.sign(other.csr, user: "alice")
            let authority = String(decoding: try host.pki.pem("ca"), as: UTF8.self)
            let answer = Sample.json([
                "certificate": certificate, "ca_certificates": authority, "serial": "1", "expires_at": Sample.time,
            ])
            let (model, _) = try model { _, _, _ in .json(answer, status: 201) }
            await model.enrol(try host.invitation())
            #expect(model.trouble?.detail == "the certificate is for another key")
        }

        @Test func textWithoutAnInvitationIsSaid() async {
            let model = EnrolmentModel(hosts: hosts)
            await model.enrol("hello")
            #expect(model.trouble?.kind == .badInvitation)
            await model.enrol("ml-job://h/enrol?code=1")
            #expect(model.trouble?.title.contains("fingerprint") == true)
        }

        // MARK: A .p12

        @Test func aFileMakesAHost() async throws {
            try host.pki.client()
            let model = EnrolmentModel(hosts: hosts)
            await model.importPKCS12(
                try host.pki.p12("alice", password: "right"), password: "right", address: "ml.example.net", name: "Lab")
            let session = try #require(hosts.selected)
            #expect(session.configuration.user == "alice" && session.configuration.address.port == 8443)
            #expect(try session.configuration.authorities == [host.pki.der("ca")])
            session.close()
        }

        @Test func aWrongPasswordIsSaid() async throws {
            try host.pki.client()
            let model = EnrolmentModel(hosts: hosts)
            await model.importPKCS12(try host.pki.p12("alice", password: "right"), password: "wrong", address: "h")
            #expect(try model.trouble?.kind == .wrongPassword && hosts.isEmpty && vault.keys.identities().isEmpty)
        }

        @Test(arguments: ["", "no PKCS#12"]) func aDamagedFileIsSaid(_ text: String) async {
            let model = EnrolmentModel(hosts: hosts)
            await model.importPKCS12(Data(text.utf8), password: "x", address: "h")
            #expect(model.trouble?.kind == .damagedFile)
        }

        @Test func anExpiredCertificateIsSaid() async throws {
            try host.pki.client("bob", dates: "-not_before 20250101000000Z -not_after 20250201000000Z")
            let model = EnrolmentModel(hosts: hosts)
            await model.importPKCS12(try host.pki.p12("bob", password: "x"), password: "x", address: "h")
            #expect(model.trouble?.kind == .certificateExpired && model.trouble?.title.contains("2025-02-01") == true)
            #expect(try vault.keys.identities().isEmpty)
        }

        @Test func aFileWithoutAnAuthorityNeedsOne() async throws {
            try host.pki.client()
            let file = try host.pki.p12("alice", password: "x", authorities: "")
            let model = EnrolmentModel(hosts: hosts)
            await model.importPKCS12(file, password: "x", address: "h")
            #expect(model.trouble?.kind == .noAuthority)
            await model.importPKCS12(file, password: "x", address: "h", authorities: try host.pki.pem("ca"))
            #expect(hosts.sessions.count == 1)
            await model.importPKCS12(file, password: "x", address: "h", authorities: try host.pki.der("ca"))
            #expect(hosts.sessions.count == 1)
            for session in hosts.sessions { session.close() }
        }

        @Test func aHostThatIsDownIsSaidAndNothingIsKept() async throws {
            try host.pki.client()
            let (model, vault) = try model { _, _, _ in throw TransportError.unreachable("refused") }
            await model.importPKCS12(try host.pki.p12("alice", password: "x"), password: "x", address: "h")
            #expect(try model.trouble?.kind == .unreachable && vault.keys.identities().isEmpty)
            await model.importPKCS12(Data(), password: "", address: "http://h")
            #expect(model.trouble?.kind == .wrongName)
        }
    }

    @MainActor @Suite(.timeLimit(.minutes(5))) struct HostSessionTests {
        let scratch: Scratch
        let host: ScriptedHost

        init() throws {
            scratch = try Scratch()
            host = try ScriptedHost()
        }

        /// A session whose certificate is good for so many days from now on.
        func session(
            dates: String = "-days 30", _ handler: ScriptedVault.Handler? = nil
        ) throws -> (HostSession, ScriptedVault, Enroller) {
            let host = host
            let vault = try ScriptedVault(
                scratch.file("keys"), handler ?? { request, _, _ in try host.answer(request) })
            try host.pki.client(dates: dates)
            let identity = try vault.keys.add(certificate: host.pki.pem("alice"), key: host.pki.key(of: "alice"))
            let configuration = HostConfiguration(
                name: "Lab", address: try #require(URL(string: "https://h:8443")), user: "alice", identity: identity,
                certificate: try host.pki.der("alice"), authorities: [try host.pki.der("ca")])
            let enroller = Enroller(vault: vault)
            return (
                try HostSession(configuration, enroller: enroller, folder: scratch.file("app"), backoff: .quick), vault,
                enroller
            )
        }

        @Test func asksForWhatIsShown() async throws {
            let (session, _, _) = try session()
            await session.loadScripts()
            await session.loadInfo()
            await session.loadSecrets()
            #expect(session.scripts.map(\.name) == ["train.py"] && session.scriptsCommit == "c0ffee")
            #expect(session.info?.versions.agent == "1" && session.secrets.isEmpty)
            #expect(session.scriptsTrouble == nil && session.infoTrouble == nil && session.secretsTrouble == nil)
            #expect(session.context.host == "Lab" && session.context.certificate?.user == "alice")
        }

        @Test func failuresAreShown() async throws {
            let (session, _, _) = try session { _, _, _ in throw TransportError.unreachable("down") }
            await session.loadScripts()
            await session.loadInfo()
            await session.loadSecrets()
            for trouble in [session.scriptsTrouble, session.infoTrouble, session.secretsTrouble] {
                #expect(trouble?.title == "Lab does not answer.")
            }
            #expect(await caught(Trouble.self) { try await session.setSecret("a", to: Data()) }?.kind == .unreachable)
            #expect(await caught(Trouble.self) { try await session.removeSecret("a") }?.kind == .unreachable)
        }

        @Test func secretsAreSetAndRemoved() async throws {
            let change = """
                {"name":"a","created_at":"\(Sample.time)","updated_at":"\(Sample.time)","age_seconds":0,"rotated":true,
                 "earlier_value_in":["x"]}
                """
            let (session, _, _) = try session { request, _, _ in
                switch request.method {
                case "PUT": .json(change)
                case "DELETE": .problem(404, "secret-not-found")
                default: .json(#"{"secrets":[]}"#)
                }
            }
            #expect(try await session.setSecret("a", to: Data("v".utf8)).earlierValueIn == ["x"])
            try await session.removeSecret("a")  // one that is gone is removed
        }

        @Test func aFormIsSubmitted() async throws {
            let (session, _, _) = try session()
            await session.loadScripts()
            let form = ScriptForm(script: try #require(session.scripts.first))
            let job = try #require(try await session.submit(form))
            #expect(session.jobs.jobs[job.id] == job)
            let rerun = await session.rerunForm(of: job)
            #expect(rerun.original == job && rerun.script.parameters.map(\.name) == ["depth"])
            #expect(try await session.submit(rerun)?.id == "again")
        }

        @Test func aRefusedFormShowsWhy() async throws {
            let (session, _, _) = try session { _, _, _ in
                .problem(
                    422, "invalid-request", "No.",
                    fields: ["hyperparameters.depth": "must be at most 5", "name": "is taken"])
            }
            let form = ScriptForm(script: Script(name: "train.py", parameters: [Parameter(name: "depth")]))
            form.fields[0].value = "9"
            #expect(await caught(Trouble.self) { try await session.submit(form) }?.kind == .invalid)
            #expect(form.objections == ["hyperparameters.depth": "must be at most 5", "name": "is taken"])
            #expect(session.outbox.entries.isEmpty)
        }

        @Test func aSweepIsSubmittedFollowedAndRunAgain() async throws {
            let (session, _, _) = try session { request, _, _ in
                switch request.target {
                case "/sweeps": .json(Sample.sweepJSON("s"), status: 202)
                case "/sweeps/s/rerun": .json(Sample.sweepJSON("again"), status: 202)
                case "/sweeps/s": .json(Sample.sweepJSON("s", "RUNNING", ["revision": 2]))
                case "/sweeps/s/trials?limit=200": .json(#"{"trials":[\#(Sample.trialJSON(0, "PENDING"))]}"#)
                default: .problem(404, "no-such-route")
                }
            }
            let form = SweepForm(script: Script(name: "train.py", parameters: [Parameter(name: "depth")]))
            let sweep = try #require(try await session.submit(form))
            #expect(session.sweeps.sweeps["s"] == sweep)
            let detail = session.detail(ofSweep: "s")
            #expect(detail === session.detail(ofSweep: "s") && detail.sweep == sweep)
            let run = Task { await detail.run(every: 0.01) }
            try await shown { session.sweeps.sweeps["s"]?.revision == 2 && detail.isLoaded }
            session.jobs.insert(Sample.job("job0", "RUNNING", ["sweep": "s", "trial": 0]))
            #expect(detail.trials.map(\.status) == [.running])
            session.sweeps.insert(Sample.sweep("s", "PAUSED", ["revision": 3]))
            #expect(detail.sweep?.status == .paused)
            #expect(try await session.rerun(sweep, SweepChanges())?.id == "again")
            run.cancel()
            session.closeDetail(ofSweep: "s")
            #expect(detail !== session.detail(ofSweep: "s"))
            session.close()
        }

        @Test func whatWaitsIsSentOnceConnected() async throws {
            let gate = Gate()
            let host = host
            let (session, vault, _) = try session { request, _, _ in
                if gate.isShut { throw TransportError.unreachable("down") }
                return try host.answer(request)
            }
            #expect(try await session.submit(ScriptForm(script: Script(name: "train.py"))) == nil)
            gate.open()
            session.start()
            session.start()
            try await shown { session.connection.isConnected }
            session.restart()
            try await shown { session.outbox.entries.isEmpty }
            let posts = vault.transports.flatMap(\.requests).filter { $0.method == "POST" }
            let keys = Set(posts.map { $0.headers["Idempotency-Key"] })
            #expect(posts.count >= 2 && keys.count == 1, "whatever was interrupted is one job")
            session.close()
        }

        final class Gate: @unchecked Sendable {
            private let lock = NSLock()
            private var shut = true
            var isShut: Bool { lock.withLock { shut } }
            func open() { lock.withLock { shut = false } }
        }

        @Test func anEndIsTold() throws {
            let (session, _, _) = try session()
            var ended: [String] = []
            session.onEnd = { ended.append($0.id) }
            session.jobs.insert(Sample.job("a", "RUNNING"))
            session.jobs.insert(Sample.job("a", "COMPLETED", ["revision": 2]))
            session.jobs.insert(Sample.job("a", "COMPLETED", ["revision": 3]))
            #expect(ended == ["a"])
        }

        @Test func aJobsWindowIsKeptWhileItIsOpen() throws {
            let (session, _, _) = try session()
            session.jobs.insert(Sample.job("a"))
            let detail = session.detail(of: "a")
            #expect(session.detail(of: "a") === detail && detail.job?.id == "a")
            session.closeDetail(of: "a")
            #expect(session.detail(of: "a") !== detail)
        }

        @Test func aRenewalReplacesTheKeyAndStreamsGoOn() async throws {
            let (session, vault, _) = try session()
            var saved: [HostConfiguration] = []
            session.onConfiguration = { saved.append($0) }
            session.start()
            try await shown { session.connection.isConnected }
            let old = session.configuration
            await session.renew()
            #expect(session.renewalTrouble == nil && saved == [session.configuration])
            #expect(
                session.configuration.identity != old.identity && session.configuration.certificate != old.certificate)
            #expect(try vault.keys.identities() == [session.configuration.identity], "the old key is forgotten")
            #expect(vault.transports.first?.isInvalidated == true)
            let current = try #require(vault.transports.last)
            try await eventually { current.requests.contains { $0.target.hasPrefix("/events") } }
            #expect(current.requests.first { $0.target.hasPrefix("/events") }?.headers["Last-Event-ID"] == "1-e")
            session.close()
        }

        @Test func aCertificateInItsLastThirdIsRenewed() async throws {
            let format = Date.ISO8601FormatStyle().year().month().day().dateSeparator(.omitted)
            let from = Date(timeIntervalSinceNow: -25 * 86_400).formatted(format)
            let to = Date(timeIntervalSinceNow: 5 * 86_400).formatted(format)
            let (session, _, _) = try session(dates: "-not_before \(from)000000Z -not_after \(to)000000Z")
            let old = session.configuration.identity
            session.start()
            try await shown { session.connection.isConnected }
            session.restart()
            try await shown { session.configuration.identity != old }
            session.close()
        }

        @Test func aFailedRenewalKeepsTheOldOne() async throws {
            let host = host
            let (session, vault, _) = try session { request, identity, _ in
                // The new certificate does not work.
                if request.target == "/host" { return .problem(403, "certificate-refused", "It was revoked.") }
                return try host.answer(request)
            }
            let old = session.configuration
            await session.renew()
            #expect(session.configuration == old && session.renewalTrouble?.kind == .certificateRefused)
            #expect(try vault.keys.identities() == [old.identity])
            #expect(vault.transports.first?.isInvalidated == false)
        }

        @Test func aConfigurationThatCannotBeSavedIsNotUsed() async throws {
            let (session, vault, _) = try session()
            let old = session.configuration
            session.onConfiguration = { _ in throw CocoaError(.fileWriteOutOfSpace) }
            await session.renew()
            #expect(session.configuration == old && session.renewalTrouble != nil)
            #expect(try vault.keys.identities().contains(old.identity))
        }

        @Test func aHostWithoutItsKeyIsShown() throws {
            let vault = try ScriptedVault(scratch.file("keys")) { _, _, _ in .json("{}") }
            let file = HostsFile(url: scratch.file("app/hosts.json"))
            let configuration = HostConfiguration(
                name: "Lab", address: try #require(URL(string: "https://h")), user: "alice", identity: "gone",
                certificate: Data(),
                authorities: [])
            try file.save([configuration])
            let hosts = Hosts(vault: vault, folder: scratch.file("app"))
            hosts.load()
            #expect(hosts.sessions.isEmpty && hosts.broken[configuration.id]?.kind == .identityMissing)
            try hosts.remove(configuration.id)
            #expect(hosts.isEmpty && hosts.broken.isEmpty)
        }

        @Test func aDamagedListOfHostsIsSaid() throws {
            let vault = try ScriptedVault(scratch.file("keys")) { _, _, _ in .json("{}") }
            try Data("{".utf8).write(to: scratch.file("hosts.json"))
            let hosts = Hosts(vault: vault, folder: scratch.url)
            hosts.load()
            #expect(hosts.trouble?.title == "The list of hosts cannot be read." && hosts.isEmpty)
        }
    }

    @Suite(.timeLimit(.minutes(5))) struct TroubleTests {
        /// Every error that a person may meet, and what they read.
        static let cases: [(any Error & Sendable, Trouble.Kind)] = [
            (TransportError.unreachable("x"), .unreachable), (TransportError.lost("x"), .connectionLost),
            (TransportError.silent(45), .slowServer), (TransportError.invalidated, .connectionLost),
            (TransportError.tooLarge(5), .notAnAgent), (TransportError.serverUntrusted(.authority, ""), .foreignServer),
            (TransportError.serverUntrusted(.name, ""), .wrongName),
            (TransportError.serverUntrusted(.expired, ""), .serverCertificateExpired),
            (TransportError.serverUntrusted(.notYetValid, ""), .clockWrong),
            (TransportError.identityRefused("alert unknown ca"), .certificateRefused),
            (TransportError.identityRefused("alert certificate expired"), .clockWrong),
            (TransportError.answerWithheld("-1206"), .certificateRefused),
            (NotUnderstood(what: "GET /jobs", why: "x"), .agentNewer), (VaultError.wrongPassword, .wrongPassword),
            (VaultError.damaged("x"), .damagedFile), (VaultError.noIdentity("x"), .identityMissing),
            (VaultError.refused("x"), .keychain), (EnrolmentError.noAuthority, .noAuthority),
            (EnrolmentError.expired(Date()), .certificateExpired), (EnrolmentError.otherAuthority, .foreignServer),
            (EnrolmentError.badAnswer("x"), .agentNewer), (InvitationError.noLink, .badInvitation),
            (InvitationError.incomplete("x"), .badInvitation), (DownloadError.damaged("x"), .damagedDownload),
            (DownloadError.unsafePath("x"), .damagedDownload),
            (DownloadError.hiddenPath("x"), .cannotWrite), (DownloadError.exists("x"), .cannotWrite),
            (DownloadError.cannotWrite(path: "p", reason: "r", isDiskFull: true), .diskFull),
            (DownloadError.cannotWrite(path: "p", reason: "r", isDiskFull: false), .cannotWrite),
            (CocoaError(.fileNoSuchFile), .other),
        ]

        @Test(arguments: cases.indices) func everyErrorIsUnderstood(_ index: Int) throws {
            let (error, kind) = Self.cases[index]
            let trouble = try #require(Trouble(error, TroubleContext(host: "lab")))
            #expect(trouble.kind == kind && trouble.id == kind)
            for text in [trouble.title, trouble.advice] {
                #expect(text.hasSuffix(".") || text.hasSuffix("ml-job://."), "\(text)")
            }
        }

        @Test(arguments: [
            (401, "enrolment-refused", Trouble.Kind.invitationRefused),
            (403, "certificate-refused", .certificateRefused),
            (403, "forbidden", .forbidden), (404, "job-not-found", .notFound), (404, "no-such-route", .agentNewer),
            (404, "no-problem-document", .notAnAgent), (409, "too-many-pinned", .tooMany),
            (410, "removed-by-retention", .gone),
            (412, "precondition-failed", .refused), (422, "invalid-request", .invalid),
            (429, "too-many-streams", .busy),
            (500, "internal", .busy), (503, "busy", .busy), (507, "storage-full", .diskFull),
        ]) func everyRefusalIsUnderstood(_ status: Int, _ code: String, _ kind: Trouble.Kind) throws {
            let problem = Problem(code: code, title: "T", status: status, detail: "It is so.")
            let trouble = try #require(Trouble(problem))
            #expect(trouble.kind == kind && trouble.title == "It is so." && !trouble.advice.isEmpty)
            let hinted = Problem(code: code, title: "T", status: status, detail: "", hint: "Do that.")
            #expect(Trouble(hinted)?.title == "T" && Trouble(hinted)?.advice == "Do that.")
        }

        @Test func anExpiredCertificateExplainsALostConnection() throws {
            let pki = try PKI()
            try pki.client("alice", dates: "-not_before 20250101000000Z -not_after 20250201000000Z")
            let context = TroubleContext(host: "lab", certificate: CertificateDetails(try pki.der("alice")))
            for error in [TransportError.lost("reset"), .identityRefused("alert")] {
                #expect(Trouble(error, context)?.title == "Your certificate for lab expired on 2025-02-01.")
            }
        }

        @Test func aFieldsRefusalIsFound() {
            let fields = [
                FieldProblem(field: "name", message: "is odd"), FieldProblem(field: "users.3", message: "is odd, too"),
            ]
            let trouble = Trouble(.invalid, "No.", advice: "", fields: fields)
            #expect(trouble.message(for: "name") == "is odd" && trouble.message(for: "users") == "3 is odd, too")
            #expect(trouble.message(for: "user") == nil && trouble.message(for: "names") == nil)
        }

        @Test func aCancellationIsNoTrouble() {
            #expect(Trouble(CancellationError()) == nil)
            let known = Trouble(.other, "A.", advice: "B.")
            #expect(Trouble(known) == known)
            #expect(ConnectionState.connecting.trouble == nil && ConnectionState.refused(known).trouble == known)
        }
    }
#endif
