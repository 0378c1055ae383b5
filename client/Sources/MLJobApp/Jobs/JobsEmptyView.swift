import MLJobKit
import SwiftUI

/// Why a list of jobs is empty, and what to do.
struct JobsEmptyView: View {
    let list: JobList
    @Environment(AppModel.self) private var app

    var body: some View {
        if let trouble = list.connection.trouble, list.jobs.isEmpty {
            TroubleView(trouble: trouble) { app.host?.restart() }
        } else if !list.search.isEmpty {
            ContentUnavailableView.search(text: list.search)
        } else if list.connection == .idle || list.connection == .connecting {
            ProgressView("Loading jobs")
        } else {
            nothing
        }
    }

    private var nothing: some View {
        ContentUnavailableView {
            Label(words.title, systemImage: "tray")
        } description: {
            Text(words.advice)
        } actions: {
            Button("New Job…") { app.compose() }
                .buttonStyle(.borderedProminent)
        }
    }

    private var words: (title: String, advice: String) {
        switch list.filter {
        case .all: ("No jobs yet", "Start one from a script of your host.")
        case .running: ("Nothing is running", "Jobs appear here when they start.")
        case .waiting: ("Nothing is waiting", "Jobs that wait for room on the host appear here.")
        case .finished: ("Nothing has finished", "Jobs appear here when they end.")
        case .pinned: ("Nothing is pinned", "Pin a job to keep its files and its log from being removed.")
        }
    }
}
