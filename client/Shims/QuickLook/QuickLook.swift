// Quick Look in a SwiftUI view: an overlay that a Mac imports where both modules are.
import SwiftUI

extension View {
    public func quickLookPreview<Items>(
        _ selection: Binding<Items.Element?>, in items: Items
    ) -> some View where Items: RandomAccessCollection, Items.Element == URL {
        self
    }
    public func quickLookPreview(_ item: Binding<URL?>) -> some View { self }
}
