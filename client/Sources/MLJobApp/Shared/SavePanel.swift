import AppKit

/// The system's panels: what a person chooses there, the sandbox lets the app write.
@MainActor
enum SavePanel {
    /// Where to save one file; nil where the user gives up.
    static func file(named name: String, message: String) async -> URL? {
        let panel = NSSavePanel()
        panel.nameFieldStringValue = name
        panel.message = message
        panel.canCreateDirectories = true
        return await panel.begin() == .OK ? panel.url : nil
    }

    /// A folder to save several files into; nil where the user gives up.
    static func folder(message: String) async -> URL? {
        let panel = NSOpenPanel()
        panel.canChooseDirectories = true
        panel.canChooseFiles = false
        panel.canCreateDirectories = true
        panel.prompt = "Save Here"
        panel.message = message
        return await panel.begin() == .OK ? panel.url : nil
    }
}
