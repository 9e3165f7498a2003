"""Who an OPC UA server says that it is, and which clients it lets in: Basic256Sha256, signed and encrypted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key, load_pem_private_key

from evident_core.errors import InvalidInput, NotFound

logger = logging.getLogger(__name__)

_BASIC: Final = CertificateValidatorOptions.BASIC_VALIDATION | CertificateValidatorOptions.PEER_CLIENT


@dataclass(frozen=True, slots=True)
class Security:
    """What a server shows of itself, and whom it lets in; made by :meth:`read`."""

    certificate: x509.Certificate
    key: bytes
    trusted: Sequence[x509.Certificate] | None

    @classmethod
    def read(cls, certificate: str, key: str, clients: str = "") -> Self:
        """Read the files.

        Args:
            certificate: PEM or DER file.
            key: Of that, PEM or DER file.
            clients: PEM file of the certificates of clients that are let in, or of authorities that issue them; empty:
                any whose certificate is in its time and names the client.

        Raises:
            NotFound: A file is not there.
            InvalidInput: A file is no certificate, or no key.
        """
        for file in (certificate, key, *filter(None, [clients])):
            if not Path(file).is_file():
                raise NotFound(f"The certificate or key {file!r} of the OPC UA server is not there.")
        data = Path(key).read_bytes()
        try:
            (load_pem_private_key if _is_pem(data) else load_der_private_key)(data, None)
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"{key} is not a key in PEM or DER without a password: {error}.", path=key) from error
        return cls(_read(certificate)[0], data, _read(clients) if clients else None)

    async def apply(self, server: Server) -> None:
        """Let a server that is not started show its certificate, and take only what is signed and encrypted.

        Its application URI becomes the certificate's, since clients compare the two.
        """
        if named := _names(self.certificate):
            await server.set_application_uri(named[0])
        else:
            logger.warning("The OPC UA server's certificate names no application URI; many clients will refuse it.")
        await server.load_certificate(self.certificate.public_bytes(Encoding.DER), "der")
        await server.load_private_key(self.key, format="pem" if _is_pem(self.key) else "der")
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        server.set_certificate_validator(Admission(self.trusted))


class Admission:
    """Says which clients are let in, by their certificates.

    Args:
        trusted: Their certificates, or those of authorities that are in their time and issued them; None: any client.
    """

    def __init__(self, trusted: Sequence[x509.Certificate] | None) -> None:
        self._trusted = trusted
        self._basic = CertificateValidator(_BASIC)

    async def __call__(self, certificate: x509.Certificate, application: Any) -> None:
        """Return where a client is let in.

        Raises:
            ServiceError: It is not: its certificate is expired, another application's, or not trusted.
        """
        await self._basic.validate(certificate, application)
        if self._trusted is not None and not any(_vouches(each, certificate) for each in self._trusted):
            logger.warning("OPC UA: a client is not trusted and was turned away: %s", certificate.subject)
            raise ServiceError(StatusCodes.BadCertificateUntrusted)


def _vouches(trusted: x509.Certificate, certificate: x509.Certificate) -> bool:
    if trusted == certificate:
        return True
    # Else one client that is let in could issue certificates for others.
    if (
        not _is_authority(trusted)
        or not trusted.not_valid_before_utc <= datetime.now(UTC) <= trusted.not_valid_after_utc
    ):
        return False
    try:
        certificate.verify_directly_issued_by(trusted)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may issue others (RFC 5280, 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _read(file: str) -> list[x509.Certificate]:
    data = Path(file).read_bytes()
    try:
        return x509.load_pem_x509_certificates(data) if _is_pem(data) else [x509.load_der_x509_certificate(data)]
    except ValueError as error:
        raise InvalidInput(f"{file} is not a certificate in PEM or DER: {error}.", path=file) from error


def _is_pem(data: bytes) -> bool:
    return b"-----BEGIN" in data


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)
