#if os(Linux) && !compiler(>=6.3)
    // libswiftObservation.so of Swift 6.0 to 6.2 lacks this function of the runtime (swiftlang/swift#75670): without it,
    // whatever uses Observation does not link.
    @_cdecl("_ZN5swift9threading5fatalEPKcz")
    func threadingFailed(_ message: UnsafePointer<CChar>) -> Never { fatalError(String(cString: message)) }
#endif
