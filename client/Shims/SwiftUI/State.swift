// Property wrappers: whose values they hold.
import Observation

@MainActor @preconcurrency
public protocol DynamicProperty {}

@propertyWrapper
public struct State<Value>: DynamicProperty {
    public init(wrappedValue value: Value) {}
    public init(wrappedValue thunk: @autoclosure @escaping () -> Value) where Value: AnyObject, Value: Observable {}
    public init(initialValue value: Value) {}
    public var wrappedValue: Value {
        get { declared() }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { declared() }
}
extension State where Value: ExpressibleByNilLiteral {
    public init() {}
}

@propertyWrapper @dynamicMemberLookup
public struct Binding<Value> {
    // As SDKs from macOS 15 on declare it: stricter than that of macOS 14.
    @preconcurrency
    public init(
        @_inheritActorContext get: @escaping @isolated(any) @Sendable () -> Value,
        @_inheritActorContext set: @escaping @isolated(any) @Sendable (Value) -> Void
    ) {}
    public static func constant(_ value: Value) -> Binding<Value> { declared() }
    public var wrappedValue: Value {
        get { declared() }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { self }
    public init(projectedValue: Binding<Value>) {}
    public subscript<Subject>(dynamicMember keyPath: WritableKeyPath<Value, Subject>) -> Binding<Subject> {
        declared()
    }
}
extension Binding: @unchecked Sendable where Value: Sendable {}
extension Binding {
    public init<V>(_ base: Binding<V>) where Value == V? {}
    public init?(_ base: Binding<Value?>) { return nil }
}
extension Binding: Identifiable where Value: Identifiable {
    public var id: Value.ID { declared() }
    public typealias ID = Value.ID
}
extension Binding: Sequence where Value: MutableCollection {
    public typealias Element = Binding<Value.Element>
    public typealias Iterator = IndexingIterator<Binding<Value>>
    public typealias SubSequence = Slice<Binding<Value>>
}
extension Binding: Collection where Value: MutableCollection {
    public typealias Index = Value.Index
    public typealias Indices = Value.Indices
    public var startIndex: Binding<Value>.Index { declared() }
    public var endIndex: Binding<Value>.Index { declared() }
    public var indices: Value.Indices { declared() }
    public func index(after i: Binding<Value>.Index) -> Binding<Value>.Index { declared() }
    public func formIndex(after i: inout Binding<Value>.Index) {}
    public subscript(position: Binding<Value>.Index) -> Binding<Value>.Element { declared() }
}
extension Binding: BidirectionalCollection where Value: BidirectionalCollection, Value: MutableCollection {
    public func index(before i: Binding<Value>.Index) -> Binding<Value>.Index { declared() }
    public func formIndex(before i: inout Binding<Value>.Index) {}
}
extension Binding: RandomAccessCollection where Value: MutableCollection, Value: RandomAccessCollection {}

@dynamicMemberLookup @propertyWrapper
public struct Bindable<Value> {
    let unused: Nothing
    init(unused: Nothing) { self.unused = unused }
    public var wrappedValue: Value {
        get { declared() }
        set {}
    }
    public var projectedValue: Bindable<Value> { self }
    @available(*, unavailable, message: "The wrapped value must be an object that conforms to Observable")
    public init(wrappedValue: Value) { self.init(unused: declared()) }
}
extension Bindable where Value: AnyObject {
    public subscript<Subject>(
        dynamicMember keyPath: ReferenceWritableKeyPath<Value, Subject>
    ) -> Binding<Subject> {
        declared()
    }
}
extension Bindable where Value: AnyObject, Value: Observable {
    public init(wrappedValue: Value) { self.init(unused: declared()) }
    public init(_ wrappedValue: Value) { self.init(unused: declared()) }
}

@propertyWrapper
public struct FocusState<Value>: DynamicProperty where Value: Hashable {
    @propertyWrapper
    public struct Binding {
        let unused: Nothing
        public var wrappedValue: Value {
            get { declared() }
            nonmutating set {}
        }
        public var projectedValue: FocusState<Value>.Binding { self }
    }
    public var wrappedValue: Value {
        get { declared() }
        nonmutating set {}
    }
    public var projectedValue: FocusState<Value>.Binding { declared() }
    public init() where Value == Bool {}
    public init<T>() where Value == T?, T: Hashable {}
}

@propertyWrapper
public struct AppStorage<Value>: DynamicProperty {
    let unused: Nothing
    public var wrappedValue: Value {
        get { declared() }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { declared() }
}
extension AppStorage {
    public init(wrappedValue: Value, _ key: String, store: UserDefaults? = nil) where Value == Bool {
        self.init(unused: declared())
    }
    public init(wrappedValue: Value, _ key: String, store: UserDefaults? = nil) where Value == Int {
        self.init(unused: declared())
    }
    public init(wrappedValue: Value, _ key: String, store: UserDefaults? = nil) where Value == Double {
        self.init(unused: declared())
    }
    public init(wrappedValue: Value, _ key: String, store: UserDefaults? = nil) where Value == String {
        self.init(unused: declared())
    }
    public init(
        wrappedValue: Value, _ key: String, store: UserDefaults? = nil
    ) where Value: RawRepresentable, Value.RawValue == String { self.init(unused: declared()) }
}

@propertyWrapper
public struct SceneStorage<Value>: DynamicProperty {
    let unused: Nothing
    public var wrappedValue: Value {
        get { declared() }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { declared() }
}
extension SceneStorage {
    public init(wrappedValue: Value, _ key: String) where Value == Bool { self.init(unused: declared()) }
    public init(wrappedValue: Value, _ key: String) where Value == String { self.init(unused: declared()) }
    public init(
        wrappedValue: Value, _ key: String
    ) where Value: RawRepresentable, Value.RawValue == String { self.init(unused: declared()) }
}

/// Keeps the compiler from making an initialiser that SwiftUI has not.
struct Nothing {}
