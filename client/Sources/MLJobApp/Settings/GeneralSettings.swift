import SwiftUI

struct GeneralSettings: View {
    @AppStorage(Preference.showsMenuBar) private var showsMenuBar = true
    @AppStorage(Preference.notifies) private var notifies = true
    @AppStorage(Preference.notifiesOnSuccess) private var notifiesOnSuccess = true

    var body: some View {
        Form {
            Toggle("Show running jobs in the menu bar", isOn: $showsMenuBar)
            Section {
                Toggle("Notify when a job of mine ends", isOn: $notifies)
                Toggle("Also when it has completed", isOn: $notifiesOnSuccess).disabled(!notifies)
            } footer: {
                Text("macOS asks once. If you said no: System Settings, Notifications, ML Jobs.")
            }
        }
        .formStyle(.grouped)
    }
}
