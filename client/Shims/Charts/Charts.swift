// What Charts declares, as far as the app uses it: signatures without anything behind them.
import SwiftUI

public protocol Plottable {
    associatedtype PrimitivePlottable: PrimitivePlottableProtocol
    var primitivePlottable: Self.PrimitivePlottable { get }
    init?(primitivePlottable: Self.PrimitivePlottable)
}
public protocol PrimitivePlottableProtocol: Plottable where Self == Self.PrimitivePlottable {}
extension PrimitivePlottableProtocol {
    public var primitivePlottable: Self { self }
    public init?(primitivePlottable: Self.PrimitivePlottable) { return nil }
}
extension Int: PrimitivePlottableProtocol {
    public typealias PrimitivePlottable = Int
}
extension Double: PrimitivePlottableProtocol {
    public typealias PrimitivePlottable = Double
}
extension String: PrimitivePlottableProtocol {
    public typealias PrimitivePlottable = String
}
extension Date: PrimitivePlottableProtocol {
    public typealias PrimitivePlottable = Date
}

public struct PlottableValue<Value> where Value: Plottable {}
extension PlottableValue {
    public static func value(_ labelKey: LocalizedStringKey, _ value: Value) -> PlottableValue<Value> { declared() }
    @_disfavoredOverload
    public static func value<S>(_ label: S, _ value: Value) -> PlottableValue<Value> where S: StringProtocol {
        declared()
    }
}

@MainActor @preconcurrency
public protocol ChartContent {
    associatedtype Body: ChartContent
    @ChartContentBuilder @MainActor @preconcurrency var body: Self.Body { get }
}
extension Never: ChartContent {}

/// A mark of Charts' own, which has no body. Only here: Charts' counterpart is not public.
public protocol _PrimitiveMark: ChartContent where Body == Never {}
extension _PrimitiveMark {
    public var body: Never { return declared() }
}
struct _NoMark: _PrimitiveMark {}

extension Optional: ChartContent where Wrapped: ChartContent {
    public typealias Body = Never
    public var body: Never { return declared() }
}
extension ForEach: ChartContent where Content: ChartContent {
    public typealias Body = Never
    public var body: Never { return declared() }
    public init(
        _ data: Data, id: KeyPath<Data.Element, ID>, @ChartContentBuilder content: @escaping (Data.Element) -> Content
    ) {
        fatalError()
    }
}
extension ForEach where ID == Data.Element.ID, Content: ChartContent, Data.Element: Identifiable {
    public init(_ data: Data, @ChartContentBuilder content: @escaping (Data.Element) -> Content) { fatalError() }
}

@resultBuilder
public struct ChartContentBuilder {
    public static func buildBlock() -> some ChartContent { declared() as _NoMark }
    public static func buildIf<T>(_ content: T?) -> T? where T: ChartContent { content }
    public static func buildExpression<Content>(_ content: Content) -> Content where Content: ChartContent { content }
    public static func buildPartialBlock<T>(first content: T) -> T where T: ChartContent { content }
    public static func buildPartialBlock(
        accumulated: some ChartContent, next: some ChartContent
    ) -> some ChartContent {
        accumulated
    }
}

public struct LineMark: _PrimitiveMark {
    public init<X, Y>(x: PlottableValue<X>, y: PlottableValue<Y>) where X: Plottable, Y: Plottable {}
    public init<X, Y, S>(
        x: PlottableValue<X>, y: PlottableValue<Y>, series: PlottableValue<S>
    ) where X: Plottable, Y: Plottable, S: Plottable {}
}

public struct PointMark: _PrimitiveMark {
    public init<X, Y>(x: PlottableValue<X>, y: PlottableValue<Y>) where X: Plottable, Y: Plottable {}
}

public struct RuleMark: _PrimitiveMark {
    public init<X>(
        x: PlottableValue<X>, yStart: CGFloat? = nil, yEnd: CGFloat? = nil
    ) where X: Plottable {}
}

public struct InterpolationMethod: Sendable {
    public static var linear: InterpolationMethod { declared() }
    public static var monotone: InterpolationMethod { declared() }
    public static var stepEnd: InterpolationMethod { declared() }
}

public struct AnnotationPosition: Equatable, @unchecked Sendable {
    public static let automatic: AnnotationPosition = declared()
    public static let top: AnnotationPosition = declared()
    public static let bottom: AnnotationPosition = declared()
    public static let trailing: AnnotationPosition = declared()
    public static let topTrailing: AnnotationPosition = declared()
}

extension ChartContent {
    public func foregroundStyle<S>(_ style: S) -> some ChartContent where S: ShapeStyle { self }
    public func foregroundStyle<D>(by value: PlottableValue<D>) -> some ChartContent where D: Plottable { self }
    public func interpolationMethod(_ method: InterpolationMethod) -> some ChartContent { self }
    public func lineStyle(_ style: StrokeStyle) -> some ChartContent { self }
    public func symbolSize(_ area: CGFloat) -> some ChartContent { self }
    public func accessibilityLabel(_ labelKey: LocalizedStringKey) -> some ChartContent { self }
    @_disfavoredOverload
    public func accessibilityLabel<S>(_ label: S) -> some ChartContent where S: StringProtocol { self }
    @_disfavoredOverload
    public func accessibilityValue<S>(_ value: S) -> some ChartContent where S: StringProtocol { self }
    public func annotation<C>(
        position: AnnotationPosition = .automatic, alignment: Alignment = .center, spacing: CGFloat? = nil,
        @ViewBuilder content: () -> C
    ) -> some ChartContent where C: View {
        self
    }
}

public struct Chart<Content>: View where Content: ChartContent {
    public init(@ChartContentBuilder content: () -> Content) {}
    public init<Data, C>(_ data: Data, @ChartContentBuilder content: @escaping (Data.Element) -> C)
    where
        Content == ForEach<Data, Data.Element.ID, C>, Data: RandomAccessCollection, C: ChartContent,
        Data.Element: Identifiable
    {}
    public typealias Body = Never
    public var body: Never { return declared() }
}

extension View {
    public func chartXAxisLabel(
        _ labelKey: LocalizedStringKey, position: AnnotationPosition = .automatic, alignment: Alignment? = nil,
        spacing: CGFloat? = nil
    ) -> some View {
        self
    }
    public func chartXAxis(_ visibility: Visibility) -> some View { self }
    public func chartYAxis(_ visibility: Visibility) -> some View { self }
    public func chartLegend(_ visibility: Visibility) -> some View { self }
    public func chartYScale<Domain>(domain: Domain, type: ScaleType? = nil) -> some View where Domain: ScaleDomain {
        self
    }
    public func chartXSelection<P>(value: Binding<P?>) -> some View where P: Plottable { self }
}

public struct ScaleType {
    public static var log: ScaleType { declared() }
    public static var linear: ScaleType { declared() }
}
public protocol ScaleDomain {}
extension ClosedRange: ScaleDomain where Bound: Plottable {}

/// Nothing here runs: the module exists for the type checker.
func declared<T>(_ name: StaticString = #function) -> T {
    fatalError("\(name) is declared for the type checker only")
}
