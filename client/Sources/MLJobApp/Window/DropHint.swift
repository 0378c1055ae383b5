import SwiftUI

/// What a window says while a file is held over it.
struct DropHint: View {
    var body: some View {
        Label("Drop a .p12 to connect with it", systemImage: "key.fill")
            .font(.title2)
            .padding(24)
            .background(.regularMaterial, in: RoundedRectangle(cornerRadius: 12))
            .allowsHitTesting(false)
    }
}
