// swift-tools-version: 6.0
import Foundation
import PackageDescription

let kit: [SwiftSetting] = [.swiftLanguageMode(.v6)]

var app = Target.executableTarget(name: "MLJobApp", dependencies: ["MLJobKit"], swiftSettings: kit)
var tests = Target.testTarget(
    name: "MLJobKitTests",
    dependencies: ["MLJobKit"],
    resources: [.copy("Fixtures")],
    swiftSettings: kit
)
var targets: [Target] = [.target(name: "MLJobKit", swiftSettings: kit)]

#if os(Linux)
    // Nothing of this is built on a Mac. URLSession cannot present a client certificate on Linux, so libcurl carries the
    // tests; and the shims declare what the views use of Apple's frameworks, so that they are type-checked.
    targets += [
        .systemLibrary(name: "CCurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .target(name: "MLJobKitCurl", dependencies: ["CCurl", "MLJobKit"], swiftSettings: kit),
        .executableTarget(name: "mljob-live", dependencies: ["MLJobKit", "MLJobKitCurl"], swiftSettings: kit),
        .executableTarget(name: "mljob-bench", dependencies: ["MLJobKit"], swiftSettings: kit),
    ]
    tests.dependencies += ["MLJobKitCurl"]

    // Each folder of Shims is a module, which depends on the shims that its sources import.
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Shims")
    let shims =
        (try? FileManager.default.contentsOfDirectory(atPath: folder.path).filter { !$0.contains(".") }.sorted()) ?? []

    func imports(of shim: String) -> [String] {
        let sources = folder.appendingPathComponent(shim)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: sources.path)) ?? []
        let text = names.compactMap { try? String(contentsOf: sources.appendingPathComponent($0), encoding: .utf8) }
        let words = text.joined(separator: "\n").split(separator: "\n").filter { $0.contains("import ") }
            .compactMap { $0.split(separator: " ").last.map(String.init) }
        return shims.filter { $0 != shim && words.contains($0) }
    }

    for shim in shims {
        targets.append(
            .target(name: shim, dependencies: imports(of: shim).map { .target(name: $0) }, path: "Shims/\(shim)"))
        app.dependencies.append(.target(name: shim))
    }
#endif

let appTests = Target.testTarget(name: "MLJobAppTests", dependencies: ["MLJobApp", "MLJobKit"], swiftSettings: kit)
targets += [app, tests, appTests]

let package = Package(
    name: "mljob",
    platforms: [.macOS(.v14)],
    products: [.library(name: "MLJobKit", targets: ["MLJobKit"])],
    targets: targets
)
