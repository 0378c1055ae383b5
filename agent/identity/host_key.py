"""The key for which secrets are sealed for a host, signed with the key of its certificate of the fleet.

Whoever seals checks that the fleet's authority certified the host of that name. So nobody between, not even
the fleet's record, can put another key in the place of a host's.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ..errors import AgentError, Problem, misconfigured
from ..model.base import HostName
from ..model.fleet import HostKey, host_server_name
from .key_files import certificates, key_file, read_key, reread

# A signature in TLS begins with 64 spaces (RFC 8446, 4.4.3): none of these can stand for one of those.
PURPOSE = "ml-agent host key 1"
DIGEST = ec.ECDSA(hashes.SHA256())


def signed(directory: Path, host: HostName, public: str) -> HostKey:
    """The key `public` (base64) of a host, signed; `directory` has the fleet's certificate of its server.

    Raises `AgentError` (configuration) where there is none.
    """

    def sign() -> HostKey:
        (certificate, *_) = certificates(directory / "server.crt")
        key = read_key(key_file(directory, "server", certificate))
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise misconfigured(
                f"The key of {directory / 'server.crt'} is no EC key, and cannot sign the key for secrets.",
            )
        return HostKey(
            host=host,
            public_key=public,
            certificate=_text(certificate.public_bytes(Encoding.DER)),
            signature=_text(key.sign(_signed_text(host, public), DIGEST)),
        )

    return reread(sign)


def check(key: HostKey, authorities: Sequence[x509.Certificate]) -> None:
    """Raises `AgentError` (forbidden) unless an authority certified the host, and the host signed the key."""
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(key.certificate, validate=True))
        verifier = PolicyBuilder().store(Store(list(authorities)))
        verifier.build_server_verifier(x509.DNSName(host_server_name(key.host))).verify(certificate, [])
        signer = certificate.public_key()
        if not isinstance(signer, ec.EllipticCurvePublicKey):
            raise ValueError("not an EC key")
        signer.verify(base64.b64decode(key.signature), _signed_text(key.host, key.public_key), DIGEST)
    except (ValueError, VerificationError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise AgentError(
            Problem.FORBIDDEN,
            f"The key for secrets of {key.host} is not of a host that the fleet's authority certified:"
            f" {error or type(error).__name__}.",
        ) from error


def _signed_text(host: str, public: str) -> bytes:
    return "\0".join((PURPOSE, host, public)).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
