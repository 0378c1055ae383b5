// Apart from the types, which would otherwise belong to the main actor wholly.
extension Text: _PrimitiveView {}
extension Image: _PrimitiveView {}
extension Color: _PrimitiveView {}
