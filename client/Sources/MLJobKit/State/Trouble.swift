import Foundation

/// A failure as a person reads it: what happened, and what to do about it.
public struct Trouble: Error, Hashable, Sendable, Identifiable {
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        case unreachable, connectionLost, slowServer
        case wrongName, foreignServer, serverCertificateExpired, clockWrong
        case certificateExpired, certificateRefused, identityMissing
        case wrongPassword, damagedFile, noAuthority, keychain
        case badInvitation, invitationRefused
        case agentNewer, notAnAgent
        case refused, forbidden, notFound, gone, tooMany, busy, invalid
        case diskFull, cannotWrite, damagedDownload
        case other
    }

    public var id: Kind { kind }
    public let kind: Kind
    /// One sentence.
    public let title: String
    /// What to do, in one or two sentences.
    public let advice: String
    /// For whoever is asked for help: the library's or the agent's own words.
    public let detail: String
    /// Refused values, by the path of their field.
    public let fields: [FieldProblem]
    /// Whether it may pass by itself.
    public let mayPass: Bool

    /// What was refused of a field: itself, or what is below it.
    public func message(for field: String) -> String? {
        fields.first { $0.field == field }?.message
            ?? fields.first { $0.field.hasPrefix("\(field).") }.map {
                "\($0.field.dropFirst(field.count + 1)) \($0.message)"
            }
    }

    public init(
        _ kind: Kind, _ title: String, advice: String, detail: String = "", fields: [FieldProblem] = [],
        mayPass: Bool = false
    ) {
        self.kind = kind
        self.title = title
        self.advice = advice
        self.detail = detail
        self.fields = fields
        self.mayPass = mayPass
    }
}

/// What is known besides an error.
public struct TroubleContext: Sendable {
    public var host: String
    /// The client's certificate.
    public var certificate: CertificateDetails?
    /// How far the host's clock is ahead of this one, in seconds.
    public var clockSkew: TimeInterval?
    public var now: Date

    public init(
        host: String = "the host", certificate: CertificateDetails? = nil, clockSkew: TimeInterval? = nil,
        now: Date = Date()
    ) {
        self.host = host
        self.certificate = certificate
        self.clockSkew = clockSkew
        self.now = now
    }
}

extension Trouble {
    /// What an error of this library means. Nil for a cancellation, which is none.
    public init?(_ error: any Error, _ context: TroubleContext = TroubleContext()) {
        switch error {
        case is CancellationError: return nil
        case let trouble as Trouble: self = trouble
        case let error as TransportError: self = Self.of(error, context)
        case let problem as Problem: self = Self.of(problem, context)
        case let error as NotUnderstood: self = Self.of(error, context)
        case let error as DownloadError: self = Self.of(error)
        case let error as VaultError: self = Self.of(error)
        case let error as EnrolmentError: self = Self.of(error, context)
        case let error as InvitationError: self = Self.of(error)
        default:
            self.init(
                .other, "Something went wrong.", advice: "Try again.", detail: String(describing: error))
        }
    }

    // MARK: The connection

    private static func of(_ error: TransportError, _ context: TroubleContext) -> Trouble {
        switch error {
        case .unreachable(let text):
            Trouble(
                .unreachable, "\(context.host) does not answer.",
                advice: "Check the network, VPN and address. The app tries again by itself.", detail: text,
                mayPass: true)
        case .lost(let text):
            lost(text, context)
        case .silent(let seconds):
            Trouble(
                .slowServer, "\(context.host) has sent nothing for \(Int(seconds)) seconds.",
                advice: "The app connects again by itself.", mayPass: true)
        case .invalidated:
            lost("the connection was given up", context)
        case .tooLarge(let limit):
            Trouble(
                .notAnAgent, "The answer of \(context.host) is larger than \(limit) bytes.",
                advice: "Check that the address is that of an ML job agent.")
        case .serverUntrusted(let reason, let text): distrust(reason, text, context)
        case .identityRefused(let text), .answerWithheld(let text): identity(text, context)
        }
    }

    private static func lost(_ text: String, _ context: TroubleContext) -> Trouble {
        if let expired = expired(context, text) { return expired }
        return Trouble(
            .connectionLost, "The connection to \(context.host) was lost.",
            advice: "The app connects again by itself and goes on where it was.", detail: text, mayPass: true)
    }

    private static func distrust(_ reason: Distrust, _ text: String, _ context: TroubleContext) -> Trouble {
        switch reason {
        case .authority:
            Trouble(
                .foreignServer, "\(context.host) has a certificate of an authority that this host's users do not know.",
                advice:
                    "Do not go on if you do not expect this. Ask the administrator whether the host was set up anew, and "
                    + "for a new invitation.", detail: text)
        case .name:
            Trouble(
                .wrongName, "The certificate of the server is not for the address \(context.host).",
                advice: "Use the address that the administrator gave you, or ask for the name to be added.",
                detail: text)
        case .expired:
            Trouble(
                .serverCertificateExpired, "The certificate of \(context.host) has expired.",
                advice:
                    "Check the date and time of this Mac. If they are right, tell the administrator, who renews it with "
                    + "`ml-agent renew`.", detail: text)
        case .notYetValid:
            Trouble(
                .clockWrong, "The certificate of \(context.host) is not valid yet.",
                advice: "Set the date and time of this Mac to automatic, in System Settings.", detail: text)
        }
    }

    private static func identity(_ text: String, _ context: TroubleContext) -> Trouble {
        if let expired = expired(context, text) { return expired }
        if text.contains("expired") || text.contains("not yet valid") {
            return Trouble(
                .clockWrong, "\(context.host) says that your certificate is out of date; this Mac says that it is not.",
                advice: "Set the date and time of this Mac to automatic. If they are right, the host's are wrong.",
                detail: text)
        }
        return Trouble(
            .certificateRefused, "\(context.host) does not accept your certificate.",
            advice: "Ask the administrator for a new invitation, and connect with it.", detail: text)
    }

    private static func expired(_ context: TroubleContext, _ text: String) -> Trouble? {
        guard let end = context.certificate?.notAfter, end < context.now else { return nil }
        return Trouble(
            .certificateExpired, "Your certificate for \(context.host) expired on \(day(end)).",
            advice: "Ask the administrator for a new invitation, and connect with it.", detail: text)
    }

    static func day(_ date: Date) -> String {
        date.formatted(.iso8601.year().month().day().dateSeparator(.dash))
    }

    // MARK: The agent's refusals

    private static func of(_ problem: Problem, _ context: TroubleContext) -> Trouble {
        let title = problem.detail.isEmpty ? problem.title : problem.detail
        let (kind, advice) = meaning(problem)
        return Trouble(
            kind, title, advice: problem.hint ?? advice, detail: "\(problem.code), HTTP \(problem.status)",
            fields: problem.errors, mayPass: problem.mayPass)
    }

    private static func meaning(_ problem: Problem) -> (Kind, String) {
        switch (problem.status, problem.code) {
        case (_, "certificate-refused"):
            (.certificateRefused, "Ask the administrator for a new invitation, and connect with it.")
        case (_, "no-problem-document"): (.notAnAgent, "Check that the address is that of an ML job agent.")
        case (_, "no-such-route"): (.agentNewer, "The host's agent is another version than this app: update both.")
        case (507, _): (.diskFull, "The host has no room. Tell its administrator.")
        case (401, _): (.invitationRefused, "Ask the administrator for a new invitation.")
        case (_, "forbidden"), (403, _): (.forbidden, "Ask an operator or administrator to do this.")
        case (404, _): (.notFound, "It may have been removed since. Look at the list again.")
        case (409, _): (.tooMany, "Remove some first.")
        case (410, _): (.gone, "The host's retention removed it. Run the job again to get it anew.")
        case (429, _), (503, _): (.busy, "The app tries again by itself.")
        case (422, _), (400, _): (.invalid, "Change what is marked, and try again.")
        case (500..., _): (.busy, "Try again. If it stays so, tell the administrator.")
        default: (.refused, "Change the request, and try again.")
        }
    }

    private static func of(_ error: NotUnderstood, _ context: TroubleContext) -> Trouble {
        Trouble(
            .agentNewer, "The answer of \(context.host) was not understood.",
            advice: "Its agent may be newer than this app. Update the app, or tell the administrator.",
            detail: error.description)
    }

    // MARK: Files and keys

    private static func of(_ error: DownloadError) -> Trouble {
        switch error {
        case .damaged(let text):
            Trouble(.damagedDownload, "The download was damaged.", advice: "Download the file again.", detail: text)
        case .unsafePath(let path):
            Trouble(
                .damagedDownload, "A file of this job would be written outside the folder.",
                advice: "It was not written. Tell the administrator.", detail: path)
        case .hiddenPath(let path):
            Trouble(
                .cannotWrite, "A hidden file of this job was not written: such files change what programs do.",
                advice: "Choose the files that you want. `ml-job artifacts get --force` writes this one, too.",
                detail: path)
        case .exists(let path):
            Trouble(
                .cannotWrite, "Another file of that name is there already.",
                advice: "It was not replaced. Choose another folder.", detail: path)
        case .cannotWrite(let path, let reason, let isDiskFull):
            isDiskFull
                ? Trouble(
                    .diskFull, "The disk of this Mac is full.",
                    advice: "Make room and download again: what has arrived is kept.", detail: "\(path): \(reason)")
                : Trouble(
                    .cannotWrite, "The file cannot be written.", advice: "Choose another folder.",
                    detail: "\(path): \(reason)")
        }
    }

    private static func of(_ error: VaultError) -> Trouble {
        switch error {
        case .wrongPassword:
            Trouble(
                .wrongPassword, "The password is not that of this file.",
                advice: "It was shown when the certificate was issued, and is kept nowhere. Ask for a new invitation "
                    + "if it is lost.")
        case .damaged(let text):
            Trouble(
                .damagedFile, "This file is no certificate with a key, or is damaged.",
                advice: "Choose the .p12 file that the administrator sent.", detail: text)
        case .noIdentity(let text):
            Trouble(
                .identityMissing, "The key of your certificate is not on this Mac any more.",
                advice: "Ask the administrator for a new invitation, and connect with it.", detail: text)
        case .refused(let text):
            Trouble(
                .keychain, "The keychain did not allow it.", advice: "Unlock the login keychain and try again.",
                detail: text)
        }
    }

    private static func of(_ error: EnrolmentError, _ context: TroubleContext) -> Trouble {
        switch error {
        case .noAuthority:
            Trouble(
                .noAuthority, "The file does not say which authority to trust.",
                advice: "Add the ca.crt file that came with it.")
        case .expired(let date):
            Trouble(
                .certificateExpired, "This certificate expired on \(day(date)).",
                advice: "Ask the administrator for a new invitation.")
        case .otherAuthority:
            Trouble(
                .foreignServer, "\(context.host) names another authority than the invitation.",
                advice: "Do not go on. Ask the administrator for a new invitation.")
        case .badAnswer(let text):
            Trouble(
                .agentNewer, "The certificate that \(context.host) sent cannot be used.",
                advice: "Tell the administrator.", detail: text)
        }
    }

    private static func of(_ error: InvitationError) -> Trouble {
        switch error {
        case .noLink:
            Trouble(
                .badInvitation, "There is no invitation in this text.",
                advice: "Copy the whole message; an invitation begins with ml-job://.")
        case .incomplete(let part):
            Trouble(
                .badInvitation, "The invitation is not whole: \(part) is missing.",
                advice: "Copy the whole message, or ask for it again.")
        }
    }
}
