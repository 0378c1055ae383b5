import Foundation
import Observation

/// The connection sheet: from an invitation or a `.p12` to a host.
@MainActor @Observable
public final class EnrolmentModel {
    public enum Phase: Hashable, Sendable {
        case ready
        /// What is being done, in words.
        case working(String)
        case done(HostConfiguration.ID)
        case failed(Trouble)
    }

    public private(set) var phase = Phase.ready
    @ObservationIgnored private let hosts: Hosts

    public init(hosts: Hosts) { self.hosts = hosts }

    public var isWorking: Bool { if case .working = phase { true } else { false } }
    public var trouble: Trouble? { if case .failed(let trouble) = phase { trouble } else { nil } }

    public func reset() { phase = .ready }

    /// Whether pasted text has an invitation in it.
    public func recognises(_ text: String) -> Bool { (try? Invitation(pasted: text)) != nil }

    /// Enrols with pasted text.
    public func enrol(_ text: String, name: String? = nil) async {
        await work("Getting a certificate…", host: (try? Invitation(pasted: text))?.address.host()) { enroller in
            try await enroller.enrol(Invitation(pasted: text), name: name)
        }
    }

    /// Connects with a `.p12`. `address` may lack its `https://`, and its port, which is 8443.
    public func importPKCS12(
        _ file: Data, password: String, address: String, authorities: Data? = nil, name: String? = nil
    ) async {
        guard let url = Self.address(address) else {
            phase = .failed(
                Trouble(
                    .wrongName, "This is no address of a host.", advice: "Write it as in ml.example.net:8443.",
                    detail: address))
            return
        }
        await work("Connecting…", host: url.host()) { enroller in
            try await enroller.importPKCS12(
                file, password: password, address: url, authorities: authorities, name: name)
        }
    }

    /// `https://HOST:PORT` of what a person types; nil where that is none.
    public nonisolated static func address(_ text: String) -> URL? {
        let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
        let whole = trimmed.contains("://") ? trimmed : "https://\(trimmed)"
        guard var parts = URLComponents(string: whole), parts.scheme == "https", let host = parts.host, !host.isEmpty,
            !host.contains(" "), parts.path.isEmpty || parts.path == "/"
        else { return nil }
        parts.path = ""
        parts.query = nil
        parts.port = parts.port ?? 8443
        return parts.url
    }

    private func work(
        _ title: String, host: String?, _ deed: @escaping @Sendable (Enroller) async throws -> HostConfiguration
    ) async {
        guard !isWorking else { return }
        phase = .working(title)
        let enroller = hosts.enroller
        do {
            let configuration = try await Task.detached { try await deed(enroller) }.value
            try hosts.add(configuration)
            phase = .done(configuration.id)
        } catch {
            phase = Trouble(error, TroubleContext(host: host ?? "the host")).map(Phase.failed) ?? .ready
        }
    }
}
