import Foundation
import MLJobKit
import MLJobKitCurl

func say(_ text: String) { FileHandle.standardOutput.write(Data("\(text)\n".utf8)) }

struct Failure: Error, CustomStringConvertible { let description: String }

/// What `client/live` tells this program.
struct Environment {
    /// The agent itself, and what cuts the connections of a log and of downloads.
    let address, logAddress, downloadAddress: URL
    let invitation: String?
    let certificates: URL
    /// A command that revokes the certificate with the serial that is appended.
    let revoke: [String]
    let usesURLSession: Bool
    let folder: URL

    init() throws {
        let values = ProcessInfo.processInfo.environment
        func value(_ name: String) throws -> String {
            guard let value = values["MLJOB_\(name)"], !value.isEmpty else {
                throw Failure(description: "MLJOB_\(name) is not set")
            }
            return value
        }
        func url(_ name: String) throws -> URL {
            guard let url = URL(string: try value(name)) else { throw Failure(description: "MLJOB_\(name) is no URL") }
            return url
        }
        address = try url("ADDRESS")
        logAddress = try url("LOG_ADDRESS")
        downloadAddress = try url("DOWNLOAD_ADDRESS")
        invitation = values["MLJOB_INVITATION"]
        certificates = URL(fileURLWithPath: try value("CERTIFICATES"))
        revoke = try value("REVOKE").split(separator: " ").map(String.init)
        usesURLSession = values["MLJOB_TRANSPORT"] == "urlsession"
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("mljob-live-\(UUID().uuidString)")
    }

    /// Keys in a folder; connections by libcurl, or by the product's own transport.
    func vault() throws -> any IdentityVault {
        let vault = try FolderVault(folder: folder.appendingPathComponent("keys"))
        return usesURLSession ? InterposedVault(keys: vault) : vault
    }

    /// The identity that `ml-agent issue` made.
    func issued(_ vault: any IdentityVault, name: String) throws -> HostConfiguration {
        func file(_ name: String) throws -> Data { try Data(contentsOf: certificates.appendingPathComponent(name)) }
        guard let keys = vault as? FolderVault ?? (vault as? InterposedVault)?.keys,
            let certificate = PEM.blocks(String(decoding: try file("\(name).crt"), as: UTF8.self)).first
        else { throw Failure(description: "there is no certificate") }
        return HostConfiguration(
            name: "live", address: address, user: CertificateDetails(certificate)?.user ?? "",
            identity: try keys.add(certificate: try file("\(name).crt"), key: try file("\(name).key")),
            certificate: certificate, authorities: PEM.blocks(String(decoding: try file("ca.crt"), as: UTF8.self)))
    }
}

/// The product's transport on Linux: URLSession cannot present a certificate there, so a preloaded library gives its
/// libcurl the files that these variables name. All connections that begin at a time have the same identity.
struct InterposedVault: IdentityVault {
    let keys: FolderVault
    private let kept = Kept()

    init(keys: FolderVault) { self.keys = keys }

    /// On Linux, a session that is let go while its libcurl works ends the process.
    private final class Kept: @unchecked Sendable {
        private let lock = NSLock()
        private var transports: [URLSessionTransport] = []

        func keep(_ transport: URLSessionTransport) -> URLSessionTransport {
            lock.withLock { transports.append(transport) }
            return transport
        }
    }

    func makeKey(label: String) throws -> any SigningKey { try keys.makeKey(label: label) }
    func store(certificate: Data, for key: any SigningKey, label: String) throws -> String {
        try keys.store(certificate: certificate, for: key, label: label)
    }
    func importPKCS12(_ file: Data, password: String, label: String) throws -> ImportedIdentity {
        try keys.importPKCS12(file, password: password, label: label)
    }
    func remove(_ identity: String) throws { try keys.remove(identity) }

    func transport(to address: URL, as identity: String?, trusting trust: ServerTrust) throws -> any HTTPTransport {
        guard case .authorities(let authorities) = trust, let identity else {
            return try keys.transport(to: address, as: identity, trusting: trust)
        }
        let file = keys.folder.appendingPathComponent("trusted.pem")
        try Data(authorities.map { PEM.encode($0) }.joined().utf8).write(to: file, options: .atomic)
        setenv("MLJOB_CURL_CA", file.path, 1)
        setenv("MLJOB_CURL_CERTIFICATE", keys.folder.appendingPathComponent("\(identity).crt").path, 1)
        setenv("MLJOB_CURL_KEY", keys.folder.appendingPathComponent("\(identity).key").path, 1)
        return kept.keep(URLSessionTransport(address: address))
    }
}
