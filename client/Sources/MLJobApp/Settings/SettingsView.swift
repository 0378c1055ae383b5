import MLJobKit
import SwiftUI

struct SettingsView: View {
    var body: some View {
        TabView {
            GeneralSettings().tabItem { Label("General", systemImage: "gearshape") }
            HostsSettings().tabItem { Label("Hosts", systemImage: "server.rack") }
        }
        .frame(width: 480, height: 320)
    }
}
