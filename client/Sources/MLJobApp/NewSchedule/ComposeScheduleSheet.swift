import MLJobKit
import SwiftUI

/// A new schedule: the script first, then its form.
struct ComposeScheduleSheet: View {
    let host: HostSession
    @State private var form: ScheduleForm?

    /// Without a script, it is chosen first.
    init(host: HostSession, script: Script?) {
        self.host = host
        _form = State(initialValue: script.map { ScheduleForm(script: $0) })
    }

    var body: some View {
        if let form {
            ScheduleFormSheet(host: host, form: form)
        } else {
            ScriptChooser(host: host) { form = ScheduleForm(script: $0) }
        }
    }
}
