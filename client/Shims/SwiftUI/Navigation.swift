// The window's columns, its title, its search field.
public struct NavigationSplitView<Sidebar, Content, Detail>: _PrimitiveView
where Sidebar: View, Content: View, Detail: View {
    public init(
        columnVisibility: Binding<NavigationSplitViewVisibility>, @ViewBuilder sidebar: () -> Sidebar,
        @ViewBuilder content: () -> Content, @ViewBuilder detail: () -> Detail
    ) {}
    public init(@ViewBuilder sidebar: () -> Sidebar, @ViewBuilder detail: () -> Detail) where Content == EmptyView {}
    public init(
        columnVisibility: Binding<NavigationSplitViewVisibility>, @ViewBuilder sidebar: () -> Sidebar,
        @ViewBuilder detail: () -> Detail
    ) where Content == EmptyView {}
}

public struct NavigationSplitViewVisibility: Equatable, Codable, Sendable {
    public static var detailOnly: NavigationSplitViewVisibility { declared() }
    public static var doubleColumn: NavigationSplitViewVisibility { declared() }
    public static var all: NavigationSplitViewVisibility { declared() }
    public static var automatic: NavigationSplitViewVisibility { declared() }
    public static func == (lhs: NavigationSplitViewVisibility, rhs: NavigationSplitViewVisibility) -> Bool { false }
    public func encode(to encoder: any Encoder) throws {}
    public init(from decoder: any Decoder) throws {}
}

public struct SearchFieldPlacement: Sendable {
    public static let automatic: SearchFieldPlacement = declared()
    public static let sidebar: SearchFieldPlacement = declared()
    public static let toolbar: SearchFieldPlacement = declared()
}

extension View {
    public func navigationSplitViewColumnWidth(
        min: CGFloat? = nil, ideal: CGFloat, max: CGFloat? = nil
    ) -> some View {
        self
    }
    public func navigationTitle(_ titleKey: LocalizedStringKey) -> some View { self }
    @_disfavoredOverload
    public func navigationTitle<S>(_ title: S) -> some View where S: StringProtocol { self }
    public func navigationSubtitle(_ subtitleKey: LocalizedStringKey) -> some View { self }
    @_disfavoredOverload
    public func navigationSubtitle<S>(_ subtitle: S) -> some View where S: StringProtocol { self }
    public func searchable(
        text: Binding<String>, placement: SearchFieldPlacement = .automatic, prompt: LocalizedStringKey
    ) -> some View {
        self
    }
    public func searchable(
        text: Binding<String>, isPresented: Binding<Bool>, placement: SearchFieldPlacement = .automatic,
        prompt: LocalizedStringKey
    ) -> some View {
        self
    }
}
