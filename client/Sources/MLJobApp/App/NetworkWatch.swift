import Network

/// Tells that the Mac has another network: connections that were made over the old one may hang until their silence is
/// noticed.
@MainActor
final class NetworkWatch {
    private let monitor = NWPathMonitor()
    private var hasBegun = false

    /// `changed` is called for as long as the watch is kept.
    init(changed: @escaping @MainActor () -> Void) {
        monitor.pathUpdateHandler = { [weak self] path in
            let isUsable = path.status == .satisfied
            Task { @MainActor in self?.take(isUsable, changed) }
        }
        monitor.start(queue: .main)
    }

    /// The first word is of the network that there is.
    private func take(_ isUsable: Bool, _ changed: @MainActor () -> Void) {
        if hasBegun && isUsable { changed() }
        hasBegun = true
    }
}
