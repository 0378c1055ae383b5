#if os(Linux)  // openssl(1) and libcurl
    import Foundation
    import MLJobKitCurl
    import Testing

    @testable import MLJobKit

    /// Runs openssl(1) with files of a folder, and returns what it prints.
    @discardableResult
    func openssl(_ words: String, in folder: Scratch) throws -> String {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // The shell changes its directory. On Linux, `Process.currentDirectoryURL` changes the directory of the tests
        // themselves for a moment, and tests that run beside this one remove theirs.
        process.arguments = ["-ec", "cd \"$0\"; openssl \(words)", folder.url.path]
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw CocoaError(.featureUnsupported, userInfo: ["openssl": text]) }
        return text
    }

    /// Certificates as the host makes them: an authority, another one, servers and clients.
    struct PKI {
        let folder: Scratch

        init() throws {
            folder = try Scratch()
            for authority in ["ca", "foreign"] {
                try key(authority)
                try openssl(
                    "req -x509 -new -key \(authority).pem -out \(authority).crt -days 30 -subj '/CN=\(authority)' "
                        + "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign", in: folder)
            }
        }

        private func key(_ name: String) throws {
            try openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out \(name).pem", in: folder)
        }

        /// A certificate with its key in `NAME.pem`. `dates` are of `openssl x509 -not_before -not_after`.
        func issue(_ name: String, _ extensions: String, by authority: String = "ca", dates: String = "-days 10") throws
        {
            try key(name)
            try Data(extensions.utf8).write(to: folder.file("\(name).ext"))
            try openssl(
                "req -new -key \(name).pem -subj '/CN=\(name)' | openssl x509 -req -CA \(authority).crt -CAkey \(authority).pem "
                    + "\(dates) -extfile \(name).ext -out \(name).crt", in: folder)
        }

        func client(_ name: String = "alice", by authority: String = "ca", dates: String = "-days 30") throws {
            let extensions = "extendedKeyUsage=clientAuth\nsubjectAltName=critical,URI:urn:ml-job:user:\(name)\n"
            try issue(name, extensions, by: authority, dates: dates)
        }

        func server(_ name: String, host: String = "localhost", by authority: String = "ca", dates: String = "-days 10")
            throws
        {
            try issue(name, "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:\(host)\n", by: authority, dates: dates)
        }

        func pem(_ name: String) throws -> Data { try Data(contentsOf: folder.file("\(name).crt")) }
        func key(of name: String) throws -> Data { try Data(contentsOf: folder.file("\(name).pem")) }
        func der(_ name: String) throws -> Data {
            try #require(PEM.blocks(String(decoding: pem(name), as: UTF8.self)).first)
        }
        func identity(_ name: String) throws -> CurlIdentity {
            CurlIdentity(certificate: try pem(name), key: try key(of: name))
        }

        /// As the host writes it for the keychain.
        func p12(_ name: String, password: String, authorities: String = "-certfile ca.crt") throws -> Data {
            try openssl(
                "pkcs12 -export -legacy -inkey \(name).pem -in \(name).crt \(authorities) -name \(name) -passout pass:\(password) "
                    + "-certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1 -out \(name).p12", in: folder)
            return try Data(contentsOf: folder.file("\(name).p12"))
        }

        /// Signs a request as the agent does: of what it says, the key counts.
        func sign(_ csr: String, user: String, days: Int = 30) throws -> String {
            try Data(csr.utf8).write(to: folder.file("request.csr"))
            try Data("subjectAltName=critical,URI:urn:ml-job:user:\(user)\n".utf8).write(to: folder.file("request.ext"))
            try openssl(
                "x509 -req -in request.csr -CA ca.crt -CAkey ca.pem -days \(days) -extfile request.ext -out request.crt",
                in: folder)
            return try String(contentsOf: folder.file("request.crt"), encoding: .utf8)
        }
    }

    @Suite(.timeLimit(.minutes(5))) struct CertificateTests {
        @Test func whatACertificateSays() throws {
            let pki = try PKI()
            try pki.client()
            let details = try #require(CertificateDetails(pki.der("alice")))
            let text = try openssl("x509 -in alice.crt -noout -serial", in: pki.folder)
            #expect(text.lowercased().contains(details.serial) && details.user == "alice")
            #expect(abs(details.notAfter.timeIntervalSince(details.notBefore) - 30 * 86_400) < 2)
            #expect(abs(details.renewFrom.timeIntervalSince(details.notBefore) - 20 * 86_400) < 2)
            #expect(abs(details.notBefore.timeIntervalSinceNow) < 60)
            #expect(details.publicPoint?.count == 65)
            #expect(CertificateDetails(try pki.der("ca"))?.user == nil)
        }

        @Test func datesOfBothKinds() throws {
            let pki = try PKI()
            try pki.client("bob", dates: "-not_before 20260101000000Z -not_after 20600101000000Z")
            let details = try #require(CertificateDetails(pki.der("bob")))
            #expect(AgentTime.format(details.notBefore) == "2026-01-01T00:00:00.000Z")
            #expect(AgentTime.format(details.notAfter) == "2060-01-01T00:00:00.000Z")
        }

        @Test func anotherKindOfKeyHasNoPoint() throws {
            let pki = try PKI()
            try openssl(
                "req -x509 -newkey rsa:2048 -nodes -keyout rsa.pem -out rsa.crt -days 1 -subj /CN=rsa", in: pki.folder)
            let details = try #require(CertificateDetails(pki.der("rsa")))
            #expect(details.publicPoint == nil && details.user == nil)
        }

        @Test func damagedCertificatesAreNone() throws {
            let pki = try PKI()
            try pki.client()
            let der = try pki.der("alice")
            for count in 0..<der.count { #expect(CertificateDetails(der.prefix(count)) == nil, "\(count)") }
            var random = SystemRandomNumberGenerator()
            for _ in 0..<3000 {
                var damaged = der
                damaged[Int.random(in: 0..<der.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
                _ = CertificateDetails(damaged)  // may be one, must not trap
            }
            #expect(CertificateDetails(Data()) == nil)
        }

        @Test func armourIsReadAndWritten() throws {
            let data = Data((0..<200).map { UInt8($0) })
            let text = "noise\r\n" + PEM.encode(data).replacing("\n", with: "\r\n") + PEM.encode(Data([1]))
            #expect(PEM.blocks(text) == [data, Data([1])])
            #expect(PEM.blocks(text, label: "PRIVATE KEY").isEmpty)
            #expect(PEM.blocks("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----").isEmpty)
        }

        @Test func lengthsOfAnySize() {
            for count in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
                let element = DER.tlv(0x04, [UInt8](repeating: 7, count: count))
                var reader = DERReader(element[...])
                #expect(reader.next(0x04)?.count == count && reader.isAtEnd)
            }
        }
    }

    @Suite(.timeLimit(.minutes(5))) struct SigningRequestTests {
        @Test func opensslTakesIt() throws {
            let scratch = try Scratch()
            let vault = try FolderVault(folder: scratch.url)
            for _ in 0..<8 {  // signatures differ in length
                let key = try vault.makeKey(label: "test")
                let request = try CertificateRequest(key: key, commonName: "älice")
                try Data(request.csr.utf8).write(to: scratch.file("r.csr"))
                let text = try openssl("req -in r.csr -noout -verify -subject -nameopt utf8", in: scratch)
                #expect(text.contains("verify OK") && text.contains("älice"), "\(text)")
            }
        }

        @Test func anotherKindOfKeyIsRefused() {
            struct Odd: SigningKey {
                let publicPoint = Data([2])
                func signature(for message: Data) throws -> Data { Data() }
            }
            #expect(throws: VaultError.self) { try CertificateRequest(key: Odd(), commonName: "a") }
        }
    }

    @Suite(.timeLimit(.minutes(5))) struct InvitationTests {
        static let fingerprint = String(repeating: "0a", count: 32)
        static let link = "ml-job://ml.example.net:8443/enrol?code=AB12-CD&ca=\(fingerprint)"

        static let pasted: [String] = [
            link, "  \(link)\n", "Hello,\n\nplease open <\(link)> today.", "\"\(link)\"",
            link.replacing("ml-job", with: "ML-JOB"),
            link.replacing("&ca", with: "\r\n&ca"), link.replacing("0a0a0a0a", with: "0A:0A:0a0a"), "x \(link) y",
            link.replacing("?code", with: "?\ncode"),
        ]

        @Test(arguments: pasted) func isFoundInPastedText(_ text: String) throws {
            let address = try #require(URL(string: "https://ml.example.net:8443"))
            let expected = Invitation(address: address, code: "AB12-CD", fingerprint: Self.fingerprint)
            #expect(try Invitation(pasted: text) == expected)
        }

        @Test(arguments: ["", "hello", "https://ml.example.net/enrol?code=1"]) func noInvitation(_ text: String) {
            #expect(throws: InvitationError.noLink) { try Invitation(pasted: text) }
        }

        static let incomplete: [(String, String)] = [
            ("ml-job:///enrol?code=1&ca=\(fingerprint)", "the host's name"),
            ("ml-job://h/enrol?ca=\(fingerprint)", "the code"),
            ("ml-job://h/enrol?code=&ca=\(fingerprint)", "the code"),
            ("ml-job://h/enrol?code=1", "the authority's fingerprint"),
            ("ml-job://h/enrol?code=1&ca=0a0a", "the authority's fingerprint"),
            ("ml-job://h/enrol?code=1&ca=\(String(repeating: "zz", count: 32))", "the authority's fingerprint"),
        ]

        @Test(arguments: incomplete) func anIncompleteOne(_ text: String, _ part: String) {
            #expect(throws: InvitationError.incomplete(part)) { try Invitation(pasted: text) }
        }

        @Test(arguments: [
            ("ml.example.net", "https://ml.example.net:8443"), (" https://h:9443/ ", "https://h:9443"),
            ("10.0.0.1", "https://10.0.0.1:8443"),
        ]) func addressesAreCompleted(_ text: String, _ address: String) {
            #expect(EnrolmentModel.address(text)?.absoluteString == address)
        }

        @Test(arguments: ["", "http://h", "a b", "https://h/path", "https://"]) func noAddress(_ text: String) {
            #expect(EnrolmentModel.address(text) == nil)
        }
    }
#endif
