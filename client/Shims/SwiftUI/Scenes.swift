// The app and its windows.
@MainActor @preconcurrency
public protocol App {
    associatedtype Body: Scene
    @SceneBuilder @MainActor @preconcurrency var body: Self.Body { get }
    @MainActor @preconcurrency init()
}
extension App {
    @MainActor @preconcurrency public static func main() {}
}

@MainActor @preconcurrency
public protocol Scene {
    associatedtype Body: Scene
    @SceneBuilder @MainActor @preconcurrency var body: Self.Body { get }
}
extension Never: Scene {}

/// A scene of SwiftUI's own, which has no body. Only here: SwiftUI's counterpart is not public.
public protocol _PrimitiveScene: Scene where Body == Never {}
extension _PrimitiveScene {
    public var body: Never { return declared() }
}
struct _NoScene: _PrimitiveScene {}

@resultBuilder
public struct SceneBuilder {
    public static func buildExpression<Content>(_ content: Content) -> Content where Content: Scene { content }
    public static func buildBlock<Content>(_ content: Content) -> Content where Content: Scene { content }
}

public struct WindowGroup<Content>: _PrimitiveScene where Content: View {
    public init(id: String, @ViewBuilder content: () -> Content) {}
    public init(_ titleKey: LocalizedStringKey, id: String, @ViewBuilder content: () -> Content) {}
}
extension WindowGroup {
    public init<D, C>(
        _ titleKey: LocalizedStringKey, id: String, for type: D.Type,
        @ViewBuilder content: @escaping (Binding<D?>) -> C
    ) where Content == PresentedWindowContent<D, C>, D: Decodable, D: Encodable, D: Hashable, C: View {}
}
public struct PresentedWindowContent<Data, Content>: _PrimitiveView
where Data: Decodable, Data: Encodable, Data: Hashable, Content: View {}

public struct Window<Content>: _PrimitiveScene where Content: View {
    public init(_ titleKey: LocalizedStringKey, id: String, @ViewBuilder content: () -> Content) {}
}

public struct Settings<Content>: _PrimitiveScene where Content: View {
    public init(@ViewBuilder content: () -> Content) {}
}

public struct MenuBarExtra<Label, Content>: _PrimitiveScene where Label: View, Content: View {
    public init(
        isInserted: Binding<Bool>, @ViewBuilder content: () -> Content, @ViewBuilder label: () -> Label
    ) {}
    public init(@ViewBuilder content: () -> Content, @ViewBuilder label: () -> Label) {}
}

public protocol MenuBarExtraStyle {}
public struct WindowMenuBarExtraStyle: MenuBarExtraStyle { public init() {} }
public struct PullDownMenuBarExtraStyle: MenuBarExtraStyle { public init() {} }
extension MenuBarExtraStyle where Self == WindowMenuBarExtraStyle {
    public static var window: WindowMenuBarExtraStyle { declared() }
}
extension MenuBarExtraStyle where Self == PullDownMenuBarExtraStyle {
    public static var menu: PullDownMenuBarExtraStyle { declared() }
}

public protocol WindowToolbarStyle {}
public struct UnifiedWindowToolbarStyle: WindowToolbarStyle { public init() {} }
extension WindowToolbarStyle where Self == UnifiedWindowToolbarStyle {
    public static var unified: UnifiedWindowToolbarStyle { declared() }
}

extension Scene {
    public func defaultSize(width: CGFloat, height: CGFloat) -> some Scene { self }
    public func windowToolbarStyle<S>(_ style: S) -> some Scene where S: WindowToolbarStyle { self }
    public func menuBarExtraStyle<S>(_ style: S) -> some Scene where S: MenuBarExtraStyle { self }
    public func commands<Content>(@CommandsBuilder content: () -> Content) -> some Scene where Content: Commands {
        self
    }
    public func keyboardShortcut(
        _ key: KeyEquivalent, modifiers: EventModifiers = .command,
        localization: KeyboardShortcut.Localization = .automatic
    ) -> some Scene {
        self
    }
    public func onChange<V>(
        of value: V, initial: Bool = false, _ action: @escaping (_ oldValue: V, _ newValue: V) -> Void
    ) -> some Scene where V: Equatable {
        self
    }
    public func handlesExternalEvents(matching conditions: Set<String>) -> some Scene { self }
}

extension KeyboardShortcut {
    public struct Localization: Sendable {
        public static let automatic: KeyboardShortcut.Localization = declared()
    }
}
