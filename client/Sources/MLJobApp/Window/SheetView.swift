import MLJobKit
import SwiftUI

/// The sheet that the app's model asks for.
struct SheetView: View {
    let sheet: Sheet
    @Environment(AppModel.self) private var app

    var body: some View {
        switch sheet {
        case .compose(let script):
            if let host = app.host { ComposeSheet(host: host, script: script) }
        case .rerun(let form):
            if let host = app.host { FormSheet(host: host, form: form) }
        case .sweep(let script):
            if let host = app.host { ComposeSweepSheet(host: host, script: script) }
        case .rerunSweep(let sweep):
            if let host = app.host { RerunSweepSheet(host: host, sweep: sweep) }
        case .extend(let sweep):
            if let host = app.host { ExtendSheet(host: host, sweep: sweep) }
        case .schedule(let script):
            if let host = app.host { ComposeScheduleSheet(host: host, script: script) }
        case .share(let thing):
            if let host = app.host { SharingSheet(host: host, sharing: host.sharing(of: thing)) }
        case .alias(let target):
            if let host = app.host { AliasSheet(host: host, target: target) }
        case .connect(let invitation, let file):
            ConnectSheet(hosts: app.hosts, draft: ConnectDraft(invitation, file: file))
        }
    }
}
