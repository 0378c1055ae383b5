// Kinds of files.
import Foundation

public struct UTType: Sendable, Hashable {
    public var identifier: String { fatalError() }
    public init?(_ identifier: String) { return nil }
    public init?(filenameExtension: String, conformingTo supertype: UTType = .data) { return nil }
    public init?(mimeType: String, conformingTo supertype: UTType = .data) { return nil }
}

extension UTType {
    public static var data: UTType { fatalError() }
    public static var folder: UTType { fatalError() }
    public static var item: UTType { fatalError() }
    public static var pkcs12: UTType { fatalError() }
    public static var plainText: UTType { fatalError() }
}
