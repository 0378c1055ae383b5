import CCurl
import Foundation
import MLJobKit

/// A client's certificate and key, in PEM.
public struct CurlIdentity: Sendable {
    public let certificate: Data
    public let key: Data

    public init(certificate: Data, key: Data) {
        self.certificate = certificate
        self.key = key
    }
}

/// libcurl with a client certificate, which URLSession on Linux cannot present. Each transfer has a thread.
public final class CurlTransport: HTTPTransport, @unchecked Sendable {
    private static let isReady: Bool = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

    private let base: String
    private let identity: CurlIdentity?
    /// In PEM; nil while only a fingerprint is known.
    private var authorities: Data?
    private let fingerprint: String?
    private let lock = NSLock()
    /// Handles that are not in use. Each keeps its connection open.
    private var idle: [OpaqueHandle] = []
    private var running: [ObjectIdentifier: BytePipe] = [:]
    private var isInvalid = false
    private var connections = 0

    struct OpaqueHandle: @unchecked Sendable { let curl: UnsafeMutableRawPointer }

    /// `authorities` is PEM of one or several.
    public init(address: URL, authorities: Data, identity: CurlIdentity?) {
        precondition(Self.isReady, "libcurl cannot be initialised")
        base =
            address.absoluteString.hasSuffix("/") ? String(address.absoluteString.dropLast()) : address.absoluteString
        self.authorities = authorities
        self.identity = identity
        fingerprint = nil
    }

    /// Trusts the authority with that SHA-256, which the server must send.
    public init(address: URL, fingerprint: String) {
        precondition(Self.isReady, "libcurl cannot be initialised")
        base =
            address.absoluteString.hasSuffix("/") ? String(address.absoluteString.dropLast()) : address.absoluteString
        identity = nil
        self.fingerprint = fingerprint
    }

    deinit { for handle in idle { curl_easy_cleanup(handle.curl) } }

    /// How many TLS connections were made.
    public var connectionCount: Int { lock.withLock { connections } }

    public func open(_ request: HTTPRequest) async throws -> (HTTPResponse, ByteStream) {
        let transfer = CurlTransfer(silence: request.silence)
        let stream = ByteStream(transfer.pipe)
        let response = try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                transfer.head = continuation
                let thread = Thread { [self] in run(request, transfer) }
                thread.stackSize = 1 << 20
                thread.start()
            }
        } onCancel: {
            transfer.pipe.cancel()
        }
        return (response, stream)
    }

    public func invalidate() {
        let pipes = lock.withLock {
            isInvalid = true
            return Array(running.values)
        }
        for pipe in pipes { pipe.interrupt(TransportError.invalidated) }
    }

    // MARK: A transfer's thread

    private func run(_ request: HTTPRequest, _ transfer: CurlTransfer) {
        let isRefused = lock.withLock {
            if !isInvalid { running[ObjectIdentifier(transfer)] = transfer.pipe }
            return isInvalid
        }
        defer { lock.withLock { _ = running.removeValue(forKey: ObjectIdentifier(transfer)) } }
        if isRefused { return transfer.end(.failure(TransportError.invalidated)) }
        do {
            let authorities = try trusted()
            let handle = try take()
            let result = perform(request, transfer, handle, authorities)
            give(handle)  // first, for whoever asks again as soon as the answer is whole
            transfer.end(result)
        } catch {
            transfer.end(.failure(error))
        }
    }

    private func perform(
        _ request: HTTPRequest, _ transfer: CurlTransfer, _ handle: OpaqueHandle, _ authorities: Data
    ) -> Result<Void, any Error> {
        let curl = handle.curl
        configure(curl, authorities)
        mljob_set_string(curl, CURLOPT_URL, base + request.target)
        mljob_set_string(curl, CURLOPT_CUSTOMREQUEST, request.method)
        if request.method == "HEAD" { mljob_set_long(curl, CURLOPT_NOBODY, 1) }
        var list: UnsafeMutablePointer<curl_slist>?
        for (name, value) in request.headers { list = curl_slist_append(list, "\(name): \(value)") }
        list = curl_slist_append(list, "Expect:")
        mljob_set_list(curl, CURLOPT_HTTPHEADER, list)
        defer { curl_slist_free_all(list) }
        request.body?.withUnsafeBytes {
            _ = mljob_set_body(curl, $0.baseAddress ?? UnsafeRawPointer(bitPattern: 1), curl_off_t($0.count))
        }
        transfer.attach(to: curl)
        var message = [CChar](repeating: 0, count: Int(CURL_ERROR_SIZE))
        let code = message.withUnsafeMutableBufferPointer { buffer in
            mljob_set_pointer(curl, CURLOPT_ERRORBUFFER, buffer.baseAddress)
            defer { mljob_set_pointer(curl, CURLOPT_ERRORBUFFER, nil) }
            return curl_easy_perform(curl)
        }
        var made = 0
        mljob_get_connects(curl, &made)
        lock.withLock { connections += made }
        let detail = message.first == 0 ? String(cString: curl_easy_strerror(code)) : CurlFailure.text(message)
        return code == CURLE_OK ? .success(()) : .failure(CurlFailure.error(code, detail, transfer))
    }

    private func configure(_ curl: UnsafeMutableRawPointer, _ authorities: Data) {
        mljob_set_string(curl, CURLOPT_PROTOCOLS_STR, "https")
        mljob_set_string(curl, CURLOPT_CAINFO, nil)
        mljob_set_string(curl, CURLOPT_CAPATH, nil)
        authorities.withUnsafeBytes { _ = mljob_set_blob(curl, CURLOPT_CAINFO_BLOB, $0.baseAddress, $0.count) }
        if let identity {
            identity.certificate.withUnsafeBytes {
                _ = mljob_set_blob(curl, CURLOPT_SSLCERT_BLOB, $0.baseAddress, $0.count)
            }
            identity.key.withUnsafeBytes { _ = mljob_set_blob(curl, CURLOPT_SSLKEY_BLOB, $0.baseAddress, $0.count) }
        }
        mljob_set_long(curl, CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_3))
        mljob_set_long(curl, CURLOPT_NOSIGNAL, 1)
        mljob_set_long(curl, CURLOPT_CONNECTTIMEOUT, 10)
        mljob_set_string(curl, CURLOPT_NOPROXY, "*")
    }

    private func take() throws -> OpaqueHandle {
        if let handle = lock.withLock({ idle.popLast() }) { return handle }
        guard let curl = curl_easy_init() else { throw TransportError.unreachable("libcurl has no memory") }
        return OpaqueHandle(curl: curl)
    }

    private func give(_ handle: OpaqueHandle) {
        curl_easy_reset(handle.curl)  // its connection stays open
        let isKept = lock.withLock {
            if !isInvalid && idle.count < 6 { idle.append(handle) }
            return idle.last?.curl == handle.curl
        }
        if !isKept { curl_easy_cleanup(handle.curl) }
    }

    // MARK: A pinned authority

    /// The authorities, in PEM. With a fingerprint alone they come from the chain that the server shows; nothing is sent
    /// over that first connection.
    private func trusted() throws -> Data {
        if let known = lock.withLock({ authorities }) { return known }
        let chain = try CurlChain.shown(by: base)
        guard let authority = chain.first(where: { $0.sha256 == fingerprint }) else {
            throw TransportError.serverUntrusted(.authority, "the server does not show the expected authority")
        }
        let text = Data(PEM.encode(authority).utf8)
        lock.withLock { authorities = text }
        return text
    }
}
