import Foundation
import MLJobKit
import Observation

/// What the windows, menus and notifications of the app share.
@MainActor @Observable
final class AppModel {
    let hosts: Hosts
    var place: Place? = .jobs(.all) { didSet { showPlace() } }
    var selectedJob: Job.ID?
    var sheet: Sheet?
    /// The last deed's failure, until its alert is closed.
    var trouble: Trouble?
    /// A job that a notification or the menu bar asks to be shown; the main window takes it.
    var wanted: JobAddress?
    @ObservationIgnored let notifier = Notifier()

    init(vault: any IdentityVault, folder: URL) {
        hosts = Hosts(vault: vault, folder: folder)
        hosts.onEnd = { [weak self] session, job in self?.notifier.tell(of: job, on: session.configuration) }
        notifier.onOpen = { [weak self] address in self?.show(address) }
    }

    func start() {
        hosts.load()
        notifier.start()
        if hosts.isEmpty { connect() }
    }

    /// The host whose jobs the main window shows.
    var host: HostSession? { hosts.selected }

    /// The selected job, where the main window shows jobs.
    var job: Job? {
        guard case .jobs? = place, let id = selectedJob else { return nil }
        return host?.jobs.jobs[id]
    }

    private func showPlace() {
        if case .jobs(let filter)? = place { host?.jobs.filter = filter }
    }

    func select(_ host: HostConfiguration.ID) {
        hosts.selection = host
        selectedJob = nil
        showPlace()
    }

    /// Shows a job in the main window.
    func show(_ address: JobAddress) {
        if hosts.selected?.id != address.host { select(address.host) }
        if host?.jobs.filter.includes(address.job, in: host?.jobs) != true { place = .jobs(.all) }
        if case .jobs? = place {} else { place = .jobs(.all) }
        selectedJob = address.job
        wanted = address
    }

    // MARK: Sheets

    func compose(_ script: Script? = nil) { if host != nil { sheet = .compose(script) } }

    func connect(_ invitation: String = "") { sheet = .connect(invitation) }

    func rerun(_ job: Job) async {
        guard let host else { return }
        sheet = .rerun(await host.rerunForm(of: job))
    }

    // MARK: Jobs

    /// Carries out what a menu, a key or a button asks. `open` is the window's to do.
    func act(_ action: JobAction, on job: Job, of host: HostSession) async {
        let detail = host.detail(of: job.id)
        switch action {
        case .open: break
        case .rerun: await rerun(job)
        case .cancel: await detail.cancel()
        case .pin: await detail.setPinned(true)
        case .unpin: await detail.setPinned(false)
        case .copyID: Pasteboard.copy(job.id)
        case .copyCommand: Pasteboard.copy(job.command)
        }
        if let failure = detail.actionTrouble {
            trouble = failure
            detail.actionTrouble = nil
        }
    }

    /// Does something that may fail, and shows why it did.
    func attempt(_ deed: () throws -> Void) {
        do { try deed() } catch { trouble = Trouble(error) }
    }
}

extension JobFilter {
    /// Whether a list that shows this filter has the job in it.
    @MainActor
    func includes(_ id: Job.ID, in list: JobList?) -> Bool {
        list?.jobs[id].map { includes($0) } ?? false
    }
}
