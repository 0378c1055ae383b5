import MLJobKit
import SwiftUI

/// A new sweep: the script first, then its form.
struct ComposeSweepSheet: View {
    let host: HostSession
    @State private var form: SweepForm?

    /// Without a script, it is chosen first.
    init(host: HostSession, script: Script?) {
        self.host = host
        _form = State(initialValue: script.map { Self.form(of: $0, on: host) })
    }

    var body: some View {
        if let form {
            SweepFormSheet(host: host, form: form)
        } else {
            ScriptChooser(host: host) { form = Self.form(of: $0, on: host) }
        }
    }

    private static func form(of script: Script, on host: HostSession) -> SweepForm {
        SweepForm(script: script, latest: host.sweeps.latest(of: script.id))
    }
}
