import MLJobKit
import SwiftUI

/// A new job: the script first, then its form.
struct ComposeSheet: View {
    let host: HostSession
    let script: Script?
    @State private var form: ScriptForm?

    var body: some View {
        if let form {
            FormSheet(host: host, form: form)
        } else if let script {
            Color.clear.frame(width: 1, height: 1).onAppear { form = ScriptForm(script: script) }
        } else {
            ScriptChooser(host: host) { form = ScriptForm(script: $0) }
        }
    }
}
