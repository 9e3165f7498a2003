"""Which OPC UA clients are let in: those that are named, and those that an authority issued; not a client's friends."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("asyncua")

from asyncua import ua
from asyncua.common.utils import ServiceError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from evident_manufacturing.delivery.opcua_security import Admission

URI = "urn:evident:test:client"
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("issuer", "client")}


def certificate(name: str, issuer: str, *, ca: bool | None = False, days: int = 1) -> x509.Certificate:
    now = datetime.now(UTC)
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(KEYS[name].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(URI)]), critical=False)
        .add_extension(x509.KeyUsage(*[True] * 4, *[False] * 5), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(KEYS[issuer], hashes.SHA256())


def is_let_in(client: x509.Certificate, trusted: list[x509.Certificate] | None) -> bool:
    description = ua.ApplicationDescription(ApplicationUri=URI)
    try:
        with ThreadPoolExecutor(1) as pool:  # the main thread may have the loop of a browser test
            pool.submit(asyncio.run, Admission(trusted)(client, description)).result()
    except ServiceError:
        return False
    return True


CLIENT = certificate("client", "issuer")


@pytest.mark.parametrize(
    ("trusted", "let_in"),
    [
        (None, True),
        ([], False),
        ([CLIENT], True),
        ([certificate("issuer", "issuer", ca=True)], True),
        ([certificate("issuer", "issuer", ca=False)], False),
        ([certificate("issuer", "issuer", ca=None)], False),
        ([certificate("issuer", "issuer", ca=True, days=-1)], False),
        ([certificate("client", "client", ca=True)], False),
    ],
    ids=["any", "none", "named", "authority", "no authority", "says nothing", "expired", "another"],
)
def test_a_client_is_let_in_by_its_own_name_or_by_an_authority(
    trusted: list[x509.Certificate] | None, let_in: bool
) -> None:
    assert is_let_in(CLIENT, trusted) is let_in
