import CCurl
import Foundation
import MLJobKit

/// One answer on its way. It is its thread's alone, but for the pipe, once that has started.
final class CurlTransfer: @unchecked Sendable {
    let pipe = BytePipe()
    var head: CheckedContinuation<HTTPResponse, any Error>?
    let silence: TimeInterval
    private(set) var isAnswered = false
    private(set) var isSilent = false
    private(set) var isConnected = false
    private var status = 0
    private var headers: [String: String] = [:]
    private var lastByte = ContinuousClock.now

    init(silence: TimeInterval) { self.silence = silence }

    func attach(to curl: UnsafeMutableRawPointer) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        mljob_set_pointer(curl, CURLOPT_HEADERDATA, context)
        mljob_set_write(curl, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
            let line = String(decoding: UnsafeRawBufferPointer(start: bytes, count: size * count), as: UTF8.self)
            CurlTransfer.of(context).header(line.trimmingCharacters(in: .whitespacesAndNewlines))
            return size * count
        }
        mljob_set_pointer(curl, CURLOPT_WRITEDATA, context)
        mljob_set_write(curl, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
            guard let bytes else { return 0 }
            return CurlTransfer.of(context).body(Data(bytes: bytes, count: size * count)) ? size * count : 0
        }
        mljob_set_pointer(curl, CURLOPT_XFERINFODATA, context)
        mljob_set_progress(curl) { context, _, _, _, _ in CurlTransfer.of(context).mustStop ? 1 : 0 }
        mljob_set_long(curl, CURLOPT_NOPROGRESS, 0)
    }

    private static func of(_ context: UnsafeMutableRawPointer?) -> CurlTransfer {
        guard let context else { preconditionFailure("libcurl lost its context") }
        return Unmanaged<CurlTransfer>.fromOpaque(context).takeUnretainedValue()
    }

    private func header(_ line: String) {
        lastByte = .now
        isConnected = true
        if line.hasPrefix("HTTP/") {
            headers = [:]
            status = line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        } else if line.isEmpty {
            // 1xx come before the answer.
            if status >= 200 { answer(.success(HTTPResponse(status: status, headers: headers))) }
        } else if let colon = line.firstIndex(of: ":") {
            headers[String(line[..<colon])] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
    }

    private func body(_ data: Data) -> Bool {
        let isWanted = pipe.pushWaiting(data)
        lastByte = .now  // the time that the reader took is not the server's silence
        return isWanted
    }

    /// Asked for every second, and after each piece.
    private var mustStop: Bool {
        if lastByte.duration(to: .now) > .seconds(silence) { isSilent = true }
        return isSilent || pipe.isCancelled
    }

    private func answer(_ result: Result<HTTPResponse, any Error>) {
        if case .success = result { isAnswered = true }
        head?.resume(with: result)
        head = nil
    }

    func end(_ result: Result<Void, any Error>) {
        switch result {
        case .success: answer(.failure(TransportError.lost("the connection ended without an answer")))
        case .failure(let error): answer(.failure(error))
        }
        pipe.finish(result)
    }
}

/// What libcurl's failures mean.
enum CurlFailure {
    static func text(_ message: [CChar]) -> String {
        String(decoding: message.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    static func error(_ code: CURLcode, _ text: String, _ transfer: CurlTransfer) -> any Error {
        if transfer.isSilent { return TransportError.silent(transfer.silence) }
        if transfer.pipe.isCancelled { return transfer.pipe.interruption ?? CancellationError() }
        switch code {
        case CURLE_PEER_FAILED_VERIFICATION: return TransportError.serverUntrusted(distrust(text), text)
        case CURLE_SSL_CERTPROBLEM: return TransportError.identityRefused(text)
        case CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST: return TransportError.unreachable(text)
        case CURLE_OPERATION_TIMEDOUT where !transfer.isConnected: return TransportError.unreachable(text)
        // TLS 1.3 tells a refused certificate by an alert after the handshake, in the place of an answer.
        case _ where text.contains("alert"): return TransportError.identityRefused(text)
        default: return TransportError.lost(text)
        }
    }

    private static func distrust(_ text: String) -> Distrust {
        if text.contains("does not match") || text.contains("no alternative certificate") { return .name }
        if text.contains("not yet valid") { return .notYetValid }
        return text.contains("expired") ? .expired : .authority
    }
}

/// The certificates that a server shows, whoever signed them.
enum CurlChain {
    static func shown(by base: String) throws -> [Data] {
        guard let curl = curl_easy_init() else { throw TransportError.unreachable("libcurl has no memory") }
        defer { curl_easy_cleanup(curl) }
        mljob_set_string(curl, CURLOPT_URL, base)
        mljob_set_string(curl, CURLOPT_PROTOCOLS_STR, "https")
        mljob_set_string(curl, CURLOPT_NOPROXY, "*")
        mljob_set_long(curl, CURLOPT_SSL_VERIFYPEER, 0)
        mljob_set_long(curl, CURLOPT_SSL_VERIFYHOST, 0)
        mljob_set_long(curl, CURLOPT_CERTINFO, 1)
        mljob_set_long(curl, CURLOPT_CONNECT_ONLY, 1)
        mljob_set_long(curl, CURLOPT_NOSIGNAL, 1)
        mljob_set_long(curl, CURLOPT_CONNECTTIMEOUT, 10)
        let code = curl_easy_perform(curl)
        guard code == CURLE_OK else { throw TransportError.unreachable(String(cString: curl_easy_strerror(code))) }
        var info: UnsafeMutablePointer<curl_certinfo>?
        guard mljob_get_certificates(curl, &info) == CURLE_OK, let info else { return [] }
        return (0..<Int(info.pointee.num_of_certs)).compactMap { certificate(info.pointee.certinfo[$0]) }
    }

    private static func certificate(_ fields: UnsafeMutablePointer<curl_slist>?) -> Data? {
        var field = fields
        while let entry = field {
            let text = String(cString: entry.pointee.data)
            if text.hasPrefix("Cert:") { return PEM.blocks(String(text.dropFirst("Cert:".count))).first }
            field = entry.pointee.next
        }
        return nil
    }
}
