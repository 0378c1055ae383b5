import AppKit
import MLJobKit
import Observation

/// What the windows, menus and notifications of the app share.
@MainActor @Observable
final class AppModel {
    let hosts: Hosts
    var place: Place? = .jobs(.all) { didSet { showPlace() } }
    var selectedJobs = Set<Job.ID>()
    /// The selected job, where there is one alone: its log and all else are shown.
    var selectedJob: Job.ID? {
        get { selectedJobs.count == 1 ? selectedJobs.first : nil }
        set { selectedJobs = newValue.map { [$0] } ?? [] }
    }
    var selectedSweep: Sweep.ID?
    var selectedSchedule: Schedule.ID?
    /// The sweep that is about to be cancelled, while its dialog asks.
    var cancelled: Sweep?
    var sheet: Sheet?
    /// The last deed's failure, until its alert is closed.
    var trouble: Trouble?
    /// Set by the first view that can open windows; good also after that view is gone.
    @ObservationIgnored var openMainWindow: (() -> Void)?
    /// How many views show a job: its log is kept while any does.
    @ObservationIgnored private var shown: [JobAddress: Int] = [:]
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
        (selectedJob, selectedSweep, selectedSchedule) = (nil, nil, nil)
        showPlace()
    }

    /// Shows a job in the main window, which is opened where it is closed.
    func show(_ address: JobAddress) {
        if host?.id != address.host { select(address.host) }
        if !isListed(address.job) { place = .jobs(.all) }
        selectedJob = address.job
        openMainWindow?()
        NSApplication.shared.activate(ignoringOtherApps: true)
    }

    /// Shows a sweep of the current host in the main window.
    func showSweep(_ id: Sweep.ID) {
        place = .sweeps
        selectedSweep = id
        openMainWindow?()
    }

    private func isListed(_ id: Job.ID) -> Bool {
        guard case .jobs(let filter)? = place, let job = host?.jobs.jobs[id] else { return false }
        return filter.includes(job)
    }

    func hasAppeared(_ job: Job.ID, of host: HostSession) {
        shown[JobAddress(host: host.id, job: job), default: 0] += 1
    }

    func hasDisappeared(_ job: Job.ID, of host: HostSession) {
        let address = JobAddress(host: host.id, job: job)
        let others = (shown[address] ?? 1) - 1
        shown[address] = others > 0 ? others : nil
        if others <= 0 { host.closeDetail(of: job) }
    }

    // MARK: Sheets

    func compose(_ script: Script? = nil) { if host != nil { sheet = .compose(script) } }

    func composeSweep(_ script: Script? = nil) { if host != nil { sheet = .sweep(script) } }

    func composeSchedule(_ script: Script? = nil) { if host != nil { sheet = .schedule(script) } }

    func connect(_ invitation: String = "", file: URL? = nil) { sheet = .connect(invitation, file) }

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
        case .share: sheet = .share(.job(job.id))
        case .copyID: Pasteboard.copy(job.id)
        case .copyCommand: Pasteboard.copy(job.command)
        }
        if let failure = detail.actionTrouble {
            trouble = failure
            detail.actionTrouble = nil
        }
    }

    /// Carries out what is asked of a sweep, and shows why it failed.
    func act(on sweep: Sweep, of host: HostSession, _ deed: @MainActor (SweepDetail) async -> Void) async {
        let detail = host.detail(ofSweep: sweep.id)
        await deed(detail)
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
