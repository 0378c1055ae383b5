import Foundation

/// Which jobs `GET /jobs` tells.
public struct JobQuery: Sendable, Hashable {
    public var status: JobStatus?
    public var script: String?
    public var owner: String?
    /// 1 to 200.
    public var limit: Int

    public init(status: JobStatus? = nil, script: String? = nil, owner: String? = nil, limit: Int = 100) {
        self.status = status
        self.script = script
        self.owner = owner
        self.limit = limit
    }
}

extension Agent {
    // MARK: Jobs

    /// Submits a job. Repeating the call with the same `key` and request makes no second job.
    public func submit(_ request: JobRequest, key: String) async throws -> Job {
        try await call(
            "POST", "/jobs", body: try JSONEncoder.ofAgent().encode(request), headers: ["Idempotency-Key": key])
    }

    /// Runs a job again, with changes. Repeating the call with the same `key` makes no second job.
    public func rerun(_ id: String, _ changes: RerunRequest = RerunRequest(), key: String) async throws -> Job {
        try await call(
            "POST", "/jobs/\(URLPart.encode(id))/rerun", body: try JSONEncoder.ofAgent().encode(changes),
            headers: ["Idempotency-Key": key])
    }

    public func job(_ id: String) async throws -> Job { try await call("GET", "/jobs/\(URLPart.encode(id))") }

    /// A page of jobs, newest first. `cursor` is the page before's `nextCursor`.
    public func jobs(_ query: JobQuery = JobQuery(), cursor: String? = nil) async throws -> JobPage {
        let parts = URLPart.query([
            "status": query.status?.rawValue, "script": query.script, "owner": query.owner, "cursor": cursor,
            "limit": String(query.limit),
        ])
        return try await call("GET", "/jobs\(parts)")
    }

    public func cancel(_ id: String) async throws -> Job {
        try await call("POST", "/jobs/\(URLPart.encode(id))/cancel")
    }

    /// Keeps a job from retention, or no longer.
    public func setPinned(_ isPinned: Bool, _ id: String) async throws -> Job {
        try await call(isPinned ? "PUT" : "DELETE", "/jobs/\(URLPart.encode(id))/pin")
    }

    public func metrics(_ id: String) async throws -> JobMetrics {
        try await call("GET", "/jobs/\(URLPart.encode(id))/metrics")
    }

    public func usage(_ id: String) async throws -> Usage { try await call("GET", "/jobs/\(URLPart.encode(id))/usage") }

    /// Why the job waits, or why it ended as it did, and what would help.
    public func explanation(_ id: String) async throws -> Explanation {
        try await call("GET", "/jobs/\(URLPart.encode(id))/explanation")
    }

    public func artifacts(_ id: String) async throws -> ArtifactManifest {
        try await call("GET", "/jobs/\(URLPart.encode(id))/artifacts")
    }

    // MARK: The host

    /// The scripts at a commit, tag or branch; at the site's current commit without one.
    public func scripts(ref: String? = nil) async throws -> ScriptList {
        try await call("GET", "/scripts\(URLPart.query(["ref": ref]))")
    }

    public func host() async throws -> HostInfo { try await call("GET", "/host") }

    /// The hosts of a fleet; none where the agent is no front of one.
    public func hosts() async throws -> [HostEntry] {
        let list: HostList = try await call("GET", "/hosts")
        return list.hosts
    }

    // MARK: Secrets

    public func secrets() async throws -> [SecretEntry] {
        let list: SecretList = try await call("GET", "/secrets")
        return list.secrets
    }

    /// Sets a secret of one's own to `value`, byte for byte.
    public func setSecret(_ name: String, to value: Data) async throws -> SecretChange {
        try await call(
            "PUT", "/secrets/\(URLPart.encode(name))", body: value,
            headers: ["Content-Type": "application/octet-stream"])
    }

    /// Removes a secret of one's own. A repeated request whose first answer was lost finds none any more: `Problem`
    /// with the code `secret-not-found`.
    public func removeSecret(_ name: String) async throws -> SecretEntry {
        try await call("DELETE", "/secrets/\(URLPart.encode(name))")
    }

    // MARK: One's own certificate

    /// A new certificate in the place of the one that this agent is asked under. Each answer is another certificate, so
    /// the request is not repeated.
    public func renewCertificate(_ request: CertificateRequest) async throws -> IssuedCertificate {
        try await call(
            "POST", "/certificate", body: try JSONEncoder.ofAgent().encode(request), isRepeatable: false)
    }

    /// A first certificate for whoever has the one-time `code` of an invitation.
    public func enrol(_ request: CertificateRequest, code: String) async throws -> IssuedCertificate {
        try await call(
            "POST", "/enrolment", body: try JSONEncoder.ofAgent().encode(request),
            headers: ["Authorization": "Bearer \(code)"], isRepeatable: false)
    }
}
