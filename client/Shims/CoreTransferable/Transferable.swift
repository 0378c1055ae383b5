// What can be dragged and dropped.
import Foundation
import UniformTypeIdentifiers

public protocol Transferable {
    associatedtype Representation: TransferRepresentation
    @TransferRepresentationBuilder<Self> static var transferRepresentation: Self.Representation { get }
}

public protocol TransferRepresentation<Item>: Sendable {
    associatedtype Item: Transferable
    associatedtype Body: TransferRepresentation
    @TransferRepresentationBuilder<Self.Item> var body: Self.Body { get }
}

extension Never: Transferable {
    public static var transferRepresentation: Never { fatalError() }
}
extension Never: TransferRepresentation {
    public typealias Item = Never
    public var body: Never { return fatalError() }
}

@resultBuilder
public struct TransferRepresentationBuilder<Item> where Item: Transferable {
    public static func buildExpression<R>(_ content: R) -> R where Item == R.Item, R: TransferRepresentation { content }
    public static func buildBlock<Content>(
        _ content: Content
    ) -> Content where Item == Content.Item, Content: TransferRepresentation {
        content
    }
}

public struct FileRepresentation<Item>: TransferRepresentation where Item: Transferable {
    public typealias Body = Never
    public var body: Never { return fatalError() }
    public init(
        exportedContentType: UTType, shouldAllowToOpenInPlace: Bool = false,
        exporting: @escaping @Sendable (Item) async throws -> SentTransferredFile
    ) {}
}
extension TransferRepresentation {
    public func suggestedFileName(_ fileName: String) -> some TransferRepresentation<Self.Item> { self }
}

public struct SentTransferredFile: Sendable {
    public let file: URL
    public let allowAccessingOriginalFile: Bool
    public init(_ file: URL, allowAccessingOriginalFile: Bool = false) {
        self.file = file
        self.allowAccessingOriginalFile = allowAccessingOriginalFile
    }
}

extension URL: Transferable {
    public static var transferRepresentation: some TransferRepresentation {
        FileRepresentation<URL>(exportedContentType: .data) { SentTransferredFile($0) }
    }
}
