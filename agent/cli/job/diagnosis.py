"""What a failed request means for the person who made it: one sentence, and what helps."""

import ssl

import aiohttp
from pydantic import BaseModel, ValidationError

from ... import __version__
from ...errors import FieldError
from ...model.problem import ProblemDocument
from ..failure import EXIT_FAILURE, EXIT_REFUSED, Failure, Refused, Unreachable
from .profile import Profile

CHECK_SERVER = "Check --server, ML_JOB_SERVER and config.toml."
RENEW = "Ask its administrator to renew it, and check this machine's clock."
RENAME = "Use a name that the certificate has; `ml-agent init --san NAME` on the host adds one."
UNTRUSTED_HINTS = {  # by X509_V_ERR_* of OpenSSL's x509_vfy.h
    9: RENEW,  # not yet valid
    10: RENEW,  # expired
    62: RENAME,  # host name mismatch
    64: RENAME,  # IP address mismatch
}


def unreachable(profile: Profile, exc: Exception) -> Unreachable:
    """Why no answer came, by the exception of the HTTP library."""
    server = profile.server
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return _untrusted(profile, exc.certificate_error)
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(
                f"The host name of {server} is unknown: {exc.os_error.strerror}.", CHECK_SERVER
            )
        case aiohttp.ClientConnectorSSLError():
            return Unreachable(f"{server} does not speak TLS 1.3.", CHECK_SERVER, final=True)
        case aiohttp.ClientConnectorError():
            return Unreachable(
                f"Cannot connect to {server}: {exc.os_error.strerror or exc.os_error}.",
                "On its host, `systemctl --user status ml-agent.socket` shows whether it listens.",
            )
        case TimeoutError():
            return Unreachable(f"{server} did not answer in time.")
    # In TLS 1.3 a server refuses the client's certificate after the client has finished its handshake, and
    # asyncio drops the alert that says so: the refusal looks like any lost connection.
    flaw = profile.certificate_flaw()
    if flaw:
        return Unreachable(
            f"{server} closed the connection, and {profile.certificate} {flaw}.",
            f"Ask its administrator for a new one (`ml-agent issue {profile.identity}`).",
            final=True,
        )
    reason = f": {exc.strerror}" if isinstance(exc, OSError) and exc.strerror else ""
    return Unreachable(f"The connection to {server} was lost{reason}.")


def _untrusted(profile: Profile, error: Exception) -> Unreachable:
    reason = str(error)
    hint = f"Ask its administrator for the current ca.crt, and save it as {profile.authority}."
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")  # which ends some of OpenSSL's messages
        hint = UNTRUSTED_HINTS.get(error.verify_code, hint)
    return Unreachable(f"The certificate of {profile.server} is not trusted: {reason}.", hint, final=True)


def refused(response: aiohttp.ClientResponse, body: bytes) -> Refused:
    """An error answer: its problem document, or its status if it has none."""
    try:
        failure = problem(ProblemDocument.model_validate_json(body, extra="ignore"))
    except ValidationError:
        failure = Refused(
            f"{response.url.origin()} answered {response.status} {response.reason} without a reason.",
            "Check that --server is the address of an ml-agent.",
            status=response.status,
            exit_status=_exit_status(response.status),
        )
    seconds = response.headers.get("Retry-After", "")
    if seconds.isascii() and seconds.isdecimal():
        failure.retry_after = float(seconds)
    return failure


def problem(document: ProblemDocument) -> Refused:
    """An RFC 9457 document, from an answer or from an event stream."""
    return Refused(
        document.detail,
        document.hint or "",
        fields=tuple(FieldError(error.field, error.message) for error in document.errors),
        status=document.status,
        code=document.type.rpartition(":")[2],
        exit_status=_exit_status(document.status),
    )


def _exit_status(status: int) -> int:
    return EXIT_REFUSED if status < 500 else EXIT_FAILURE


def not_understood(model: type[BaseModel], exc: ValidationError) -> Failure:
    """An answer that is not a `model`, even though unknown members are ignored."""
    first = exc.errors(include_url=False, include_input=False)[0]
    place = ".".join([model.__name__, *(str(part) for part in first["loc"])])
    return Failure(
        f"The agent's answer was not understood ({place}: {first['msg']}).",
        f"The agent may be newer than this ml-job, which is {__version__}: upgrade ml-job.",
        exit_status=EXIT_FAILURE,
    )
