// An AppKit view in a SwiftUI one, and the app's delegate.
import AppKit

@MainActor @preconcurrency
public protocol NSViewRepresentable: View where Self.Body == Never {
    associatedtype NSViewType: NSView
    @MainActor @preconcurrency func makeNSView(context: Self.Context) -> Self.NSViewType
    @MainActor @preconcurrency func updateNSView(_ nsView: Self.NSViewType, context: Self.Context)
    associatedtype Coordinator = Void
    @MainActor @preconcurrency func makeCoordinator() -> Self.Coordinator
    typealias Context = NSViewRepresentableContext<Self>
}
extension NSViewRepresentable where Self.Coordinator == () {
    public func makeCoordinator() -> Self.Coordinator { declared() }
}
extension NSViewRepresentable {
    public var body: Never { return declared() }
}

@MainActor @preconcurrency
public struct NSViewRepresentableContext<View> where View: NSViewRepresentable {
    @MainActor @preconcurrency public let coordinator: View.Coordinator
}

@MainActor @preconcurrency @propertyWrapper
public struct NSApplicationDelegateAdaptor<DelegateType>: DynamicProperty
where DelegateType: NSObject, DelegateType: NSApplicationDelegate {
    @MainActor @preconcurrency public var wrappedValue: DelegateType { declared() }
    @MainActor @preconcurrency public init(_ delegateType: DelegateType.Type = DelegateType.self) {}
}
