// What SwiftUI declares, as far as the app uses it: signatures without anything behind them.
@_exported import FoundationGaps

@MainActor @preconcurrency
public protocol View {
    associatedtype Body: View
    @ViewBuilder @MainActor @preconcurrency var body: Self.Body { get }
}

extension Never: View {
    public var body: Never { return declared() }
}

/// A view of SwiftUI's own, which has no body. Only here: SwiftUI's counterpart is not public.
public protocol _PrimitiveView: View where Body == Never {}
extension _PrimitiveView {
    public var body: Never { return declared() }
}

extension Optional: View where Wrapped: View {
    public typealias Body = Never
    public var body: Never { return declared() }
}

public struct EmptyView: _PrimitiveView {
    public init() {}
}

public struct AnyView: _PrimitiveView {
    public init<V>(_ view: V) where V: View {}
}

public struct TupleView<T>: _PrimitiveView {
    public var value: T
    public init(_ value: T) { self.value = value }
}

public struct _ConditionalContent<TrueContent, FalseContent> {}
extension _ConditionalContent: View where TrueContent: View, FalseContent: View {
    public typealias Body = Never
    public var body: Never { return declared() }
}

@resultBuilder
public struct ViewBuilder {
    public static func buildExpression<Content>(_ content: Content) -> Content where Content: View { content }
    public static func buildBlock() -> EmptyView { declared() }
    public static func buildBlock<Content>(_ content: Content) -> Content where Content: View { content }
    public static func buildIf<Content>(_ content: Content?) -> Content? where Content: View { content }
    public static func buildEither<TrueContent, FalseContent>(
        first: TrueContent
    ) -> _ConditionalContent<TrueContent, FalseContent> where TrueContent: View, FalseContent: View {
        declared()
    }
    public static func buildEither<TrueContent, FalseContent>(
        second: FalseContent
    ) -> _ConditionalContent<TrueContent, FalseContent> where TrueContent: View, FalseContent: View {
        declared()
    }
    public static func buildLimitedAvailability<Content>(_ content: Content) -> AnyView where Content: View {
        declared()
    }
}

/// Nothing here runs: the modules exist for the type checker.
func declared<T>(_ name: StaticString = #function) -> T {
    fatalError("\(name) is declared for the type checker only")
}
