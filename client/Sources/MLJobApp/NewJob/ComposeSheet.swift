import MLJobKit
import SwiftUI

/// A new job: the script first, then its form.
struct ComposeSheet: View {
    let host: HostSession
    @State private var form: ScriptForm?

    /// Without a script, it is chosen first.
    init(host: HostSession, script: Script?) {
        self.host = host
        _form = State(initialValue: script.map { ScriptForm(script: $0) })
    }

    var body: some View {
        if let form {
            FormSheet(host: host, form: form)
        } else {
            ScriptChooser(host: host) { form = ScriptForm(script: $0) }
        }
    }
}
