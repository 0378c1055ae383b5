"""The DNS names and IP addresses of the HTTPS server."""

import ipaddress
import re

from cryptography import x509

from ..errors import AgentError, Problem

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123
_HOST_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.IGNORECASE)


def server_name(name: str) -> str | None:
    """The normal form of a DNS name or an IP address; None if it is neither."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower() if len(name) <= 253 and _HOST_NAME.fullmatch(name) else None


def server_names(certificate: x509.Certificate) -> list[str]:
    """The DNS names and IP addresses of a server certificate, as `Authority.issue_server` takes them."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def general_name(name: str) -> x509.GeneralName:
    """A name as certificates have it. Raises `AgentError` (configuration) if it is not valid."""
    normal = server_name(name)
    if normal is None:
        raise AgentError(
            Problem.CONFIGURATION,
            f"{name!r} is neither a DNS name nor an IP address.",
            "Write international names in the xn-- form.",
        )
    try:
        return x509.IPAddress(ipaddress.ip_address(normal))
    except ValueError:
        return x509.DNSName(normal)
