import SwiftUI

/// A curve without axes, as wide and high as its place.
struct SparklineShape: Shape {
    let values: [Double]

    func path(in rect: CGRect) -> Path {
        let known = values.filter(\.isFinite)
        guard known.count > 1, let low = known.min(), let high = known.max() else { return Path() }
        let span = high > low ? high - low : 1
        var path = Path()
        for (place, value) in known.enumerated() {
            let x = rect.minX + rect.width * CGFloat(place) / CGFloat(known.count - 1)
            let y = rect.maxY - rect.height * CGFloat((value - low) / span)
            let point = CGPoint(x: x, y: y)
            if place == 0 { path.move(to: point) } else { path.addLine(to: point) }
        }
        return path
    }
}
