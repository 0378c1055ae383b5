import Foundation

/// Sizes and times as people type them.
public enum Quantity {
    /// `2G` is 2 × 1024³ bytes, as in systemd's `MemoryMax=`; `1.5 GiB` and plain bytes are taken, too.
    public static func bytes(_ text: String) -> Int? {
        let match = text.trimmingCharacters(in: .whitespaces).wholeMatch(
            of: /([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]?)(?:i?B)?/.ignoresCase())
        guard let match, let number = Double(match.output.1) else { return nil }
        let powers = ["": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5]
        let factor = pow(1024, Double(powers[match.output.2.uppercased()] ?? 0))
        return Int(exactly: (number * factor).rounded())
    }

    /// `1h30m`, `90s`, `2 d`; without a unit, seconds.
    public static func seconds(_ text: String) -> Int? {
        let trimmed = text.filter { !$0.isWhitespace }.lowercased()
        if let plain = UInt32(trimmed) { return Int(plain) }
        guard trimmed.wholeMatch(of: /(?:[0-9]+(?:\.[0-9]+)?(?:d|h|min|m|s))+/) != nil else { return nil }
        let units = ["d": 86_400.0, "h": 3600, "m": 60, "min": 60, "s": 1]
        let sum = trimmed.matches(of: /([0-9]+(?:\.[0-9]+)?)(d|h|min|m|s)/).reduce(0.0) {
            $0 + (Double($1.output.1) ?? 0) * (units[String($1.output.2)] ?? 0)
        }
        return Int(exactly: sum.rounded())
    }

    /// `2 GiB`, `1.5 MiB`, `12 B`.
    public static func format(bytes: Int) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var value = Double(bytes)
        var unit = 0
        while value >= 1024, unit < units.count - 1 { (value, unit) = (value / 1024, unit + 1) }
        let rounded = (value * 10).rounded() / 10
        return "\(ParameterCheck.format(rounded)) \(units[unit])"
    }

    /// `1h30m`, as `seconds` takes it: `1d2h`, `5m`, `42s`.
    public static func format(seconds: Int) -> String {
        let parts = [
            (seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s"),
        ]
        let text = parts.filter { $0.0 > 0 }.map { "\($0.0)\($0.1)" }.joined()
        return text.isEmpty ? "0s" : text
    }
}
