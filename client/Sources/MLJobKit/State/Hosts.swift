import Foundation
import Observation

/// All hosts of the app.
@MainActor @Observable
public final class Hosts {
    public private(set) var sessions: [HostSession] = []
    /// Hosts whose identity is not in the vault, with the reason.
    public private(set) var broken: [HostConfiguration.ID: Trouble] = [:]
    /// Why the list of hosts could not be read or written.
    public private(set) var trouble: Trouble?
    public var selection: HostConfiguration.ID?

    /// Called with each job that ended and that its user has not been told of.
    @ObservationIgnored public var onEnd: ((HostSession, Job) -> Void)?
    @ObservationIgnored public let enroller: Enroller
    @ObservationIgnored private let folder: URL
    @ObservationIgnored private let file: HostsFile
    @ObservationIgnored private var configurations: [HostConfiguration] = []

    /// `folder` is the app's own.
    public init(vault: any IdentityVault, folder: URL) {
        enroller = Enroller(vault: vault)
        self.folder = folder
        file = HostsFile(url: folder.appendingPathComponent("hosts.json"))
    }

    public var selected: HostSession? { sessions.first { $0.id == selection } ?? sessions.first }
    public var isEmpty: Bool { configurations.isEmpty }
    public var names: [HostConfiguration] { configurations }

    /// Reads the hosts and begins to follow them.
    public func load() {
        do {
            configurations = try file.load()
            for configuration in configurations { open(configuration) }
        } catch {
            trouble = Trouble(
                .other, "The list of hosts cannot be read.", advice: "Connect to your hosts anew.",
                detail: "\(file.url.path): \(error)")
        }
    }

    private func open(_ configuration: HostConfiguration) {
        do {
            let session = try HostSession(configuration, enroller: enroller, folder: folder)
            session.onConfiguration = { [weak self] in try self?.update($0) }
            session.onEnd = { [weak self, weak session] job in
                guard let self, let session else { return }
                onEnd?(session, job)
            }
            sessions.append(session)
            broken[configuration.id] = nil
            session.start()
        } catch {
            broken[configuration.id] = Trouble(error, TroubleContext(host: configuration.name))
        }
    }

    /// Adds a host, in the place of an earlier one with the same address and user. Raises what writing the file does.
    @discardableResult
    public func add(_ configuration: HostConfiguration) throws -> HostSession? {
        let earlier = configurations.filter {
            $0.address == configuration.address && $0.user == configuration.user && $0.id != configuration.id
        }
        try save(configurations.filter { !earlier.contains($0) } + [configuration])
        for old in earlier { forget(old) }
        open(configuration)
        selection = configuration.id
        return sessions.first { $0.id == configuration.id }
    }

    public func rename(_ id: HostConfiguration.ID, to name: String) throws {
        guard var configuration = configurations.first(where: { $0.id == id }) else { return }
        configuration.name = name
        try update(configuration)
        sessions.first { $0.id == id }?.rename(to: name)
    }

    /// Forgets a host with its key. The certificate stays good until it ends: the administrator can revoke it.
    public func remove(_ id: HostConfiguration.ID) throws {
        guard let configuration = configurations.first(where: { $0.id == id }) else { return }
        try save(configurations.filter { $0.id != id })
        forget(configuration)
    }

    private func forget(_ configuration: HostConfiguration) {
        sessions.first { $0.id == configuration.id }?.close()
        sessions.removeAll { $0.id == configuration.id }
        broken[configuration.id] = nil
        if selection == configuration.id { selection = nil }
        try? enroller.vault.remove(configuration.identity)
        try? FileManager.default.removeItem(at: folder.appendingPathComponent(configuration.id.uuidString))
    }

    private func update(_ configuration: HostConfiguration) throws {
        try save(configurations.map { $0.id == configuration.id ? configuration : $0 })
    }

    private func save(_ configurations: [HostConfiguration]) throws {
        try file.save(configurations)
        self.configurations = configurations
    }

    public func sleep() { for session in sessions { session.sleep() } }
    public func wake() { for session in sessions { session.wake() } }
}
