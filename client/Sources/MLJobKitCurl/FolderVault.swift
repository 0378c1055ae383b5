import Foundation
import MLJobKit

/// Keys and certificates as PEM files of a folder, made by openssl(1): what the keychain is on a Mac.
public struct FolderVault: IdentityVault {
    public let folder: URL

    public init(folder: URL) throws {
        self.folder = folder
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }

    struct Key: SigningKey {
        let file: URL

        var publicPoint: Data {
            get throws {
                let spki = try openssl("pkey", "-in", file.path, "-pubout", "-outform", "DER")
                return Data(spki.suffix(65))
            }
        }

        func signature(for message: Data) throws -> Data {
            try openssl("dgst", "-sha256", "-sign", file.path, input: message)
        }
    }

    public func makeKey(label: String) throws -> any SigningKey {
        let file = keyFile(UUID().uuidString)
        _ = try openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file.path)
        return Key(file: file)
    }

    public func store(certificate: Data, for key: any SigningKey, label: String) throws -> String {
        guard let key = key as? Key else { throw VaultError.noIdentity("the key is of another vault") }
        let identity = key.file.deletingPathExtension().lastPathComponent
        try Data(PEM.encode(certificate).utf8).write(to: certificateFile(identity), options: .atomic)
        return identity
    }

    public func importPKCS12(_ file: Data, password: String, label: String) throws -> ImportedIdentity {
        let identity = UUID().uuidString
        let source = folder.appendingPathComponent("\(identity).p12")
        try file.write(to: source)
        defer { try? FileManager.default.removeItem(at: source) }
        func read(_ options: String...) throws -> Data {
            // The file's own ciphers are of openssl's legacy provider.
            let words = ["pkcs12", "-legacy", "-in", source.path, "-passin", "stdin", "-nodes"] + options
            return try openssl(words, input: Data("\(password)\n".utf8))
        }
        let key: Data
        do {
            key = try read("-nocerts")
        } catch let error as OpenSSLError {
            throw error.text.lowercased().contains("mac verify")
                ? VaultError.wrongPassword : VaultError.damaged(error.text)
        }
        guard let certificate = PEM.blocks(String(decoding: try read("-nokeys", "-clcerts"), as: UTF8.self)).first
        else {
            throw VaultError.noIdentity("the file has no certificate for its key")
        }
        try key.write(to: keyFile(identity), options: .atomic)
        try Data(PEM.encode(certificate).utf8).write(to: certificateFile(identity), options: .atomic)
        let authorities = PEM.blocks(String(decoding: try read("-nokeys", "-cacerts"), as: UTF8.self))
        return ImportedIdentity(identity: identity, certificate: certificate, authorities: authorities)
    }

    /// Takes files that `ml-agent issue` wrote.
    public func add(certificate: Data, key: Data) throws -> String {
        let identity = UUID().uuidString
        try key.write(to: keyFile(identity))
        try certificate.write(to: certificateFile(identity))
        return identity
    }

    public func remove(_ identity: String) throws {
        for file in [keyFile(identity), certificateFile(identity)]
        where FileManager.default.fileExists(atPath: file.path) {
            try FileManager.default.removeItem(at: file)
        }
    }

    /// The names of all identities.
    public func identities() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path)
            .filter { $0.hasSuffix(".crt") }.map { String($0.dropLast(4)) }.sorted()
    }

    public func transport(
        to address: URL, as identity: String?, trusting trust: ServerTrust
    ) throws -> any HTTPTransport {
        switch trust {
        case .fingerprint(let fingerprint): return CurlTransport(address: address, fingerprint: fingerprint)
        case .authorities(let authorities):
            let pem = Data(authorities.map { PEM.encode($0) }.joined().utf8)
            return CurlTransport(address: address, authorities: pem, identity: try identity.map(read))
        }
    }

    private func read(_ identity: String) throws -> CurlIdentity {
        do {
            return CurlIdentity(
                certificate: try Data(contentsOf: certificateFile(identity)),
                key: try Data(contentsOf: keyFile(identity)))
        } catch {
            throw VaultError.noIdentity("there is no identity \(identity)")
        }
    }

    private func keyFile(_ identity: String) -> URL { folder.appendingPathComponent("\(identity).key") }
    private func certificateFile(_ identity: String) -> URL { folder.appendingPathComponent("\(identity).crt") }
}

struct OpenSSLError: Error { let text: String }

func openssl(_ arguments: String..., input: Data = Data()) throws -> Data { try openssl(arguments, input: input) }

func openssl(_ arguments: [String], input: Data) throws -> Data {
    let process = Process()
    let (source, output, errors) = (Pipe(), Pipe(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
    process.arguments = arguments
    process.standardInput = source
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    try? source.fileHandleForWriting.write(contentsOf: input)
    try? source.fileHandleForWriting.close()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw OpenSSLError(text: text) }
    return data
}
