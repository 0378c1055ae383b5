// A window's toolbar.
@MainActor @preconcurrency
public protocol ToolbarContent {
    associatedtype Body: ToolbarContent
    @ToolbarContentBuilder @MainActor @preconcurrency var body: Self.Body { get }
}
extension Never: ToolbarContent {}

/// Items of SwiftUI's own, which have no body. Only here: SwiftUI's counterpart is not public.
public protocol _PrimitiveToolbar: ToolbarContent where Body == Never {}
extension _PrimitiveToolbar {
    public var body: Never { return declared() }
}
struct _NoToolbar: _PrimitiveToolbar {}

extension Optional: ToolbarContent where Wrapped: ToolbarContent {
    public typealias Body = Never
    public var body: Never { return declared() }
}

@resultBuilder
public struct ToolbarContentBuilder {
    public static func buildExpression<Content>(_ content: Content) -> Content where Content: ToolbarContent { content }
    public static func buildBlock<Content>(_ content: Content) -> some ToolbarContent where Content: ToolbarContent {
        content
    }
    public static func buildIf<Content>(_ content: Content?) -> Content? where Content: ToolbarContent { content }
}

public struct ToolbarItemPlacement {
    public static let automatic: ToolbarItemPlacement = declared()
    public static let principal: ToolbarItemPlacement = declared()
    public static let navigation: ToolbarItemPlacement = declared()
    public static let primaryAction: ToolbarItemPlacement = declared()
    public static let status: ToolbarItemPlacement = declared()
    public static let confirmationAction: ToolbarItemPlacement = declared()
    public static let cancellationAction: ToolbarItemPlacement = declared()
    public static let destructiveAction: ToolbarItemPlacement = declared()
}
extension ToolbarItemPlacement: Sendable {}

public struct ToolbarItem<ID, Content>: _PrimitiveToolbar where Content: View {}
extension ToolbarItem where ID == () {
    public init(placement: ToolbarItemPlacement = .automatic, @ViewBuilder content: () -> Content) {}
}

public struct ToolbarItemGroup<Content>: _PrimitiveToolbar where Content: View {}
extension ToolbarItemGroup {
    public init(placement: ToolbarItemPlacement = .automatic, @ViewBuilder content: () -> Content) {}
}

extension View {
    public func toolbar<Content>(@ViewBuilder content: () -> Content) -> some View where Content: View { self }
    public func toolbar<Content>(
        @ToolbarContentBuilder content: () -> Content
    ) -> some View where Content: ToolbarContent {
        self
    }
}
