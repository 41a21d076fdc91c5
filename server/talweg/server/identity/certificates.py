"""A certificate authority for a small team, and the certificates that it signs.

Keys are of the curve P-256. The authority's key stays where it was made: whoever has it can pass
for the server.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from talweg.spec.local.whole_files import write_whole

CA_FILE, CA_KEY_FILE = "ca.pem", "ca-key.pem"
_CA_DAYS = 3650
_BACKDATED = timedelta(hours=1)
_LOCAL = ("localhost", "127.0.0.1", "::1")


class CertificateError(Exception):
    """A certificate cannot be made: a file is in the way, or is missing."""


def make_authority(folder: Path) -> None:
    """Make a certificate authority: ca.pem for everybody, ca-key.pem for nobody else.

    Args:
        folder: Where; it is made.

    Raises:
        CertificateError: There is one already.
        OSError: It cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / CA_FILE).exists() or (folder / CA_KEY_FILE).exists():
        raise CertificateError(
            f"{folder} holds a certificate authority already; `talweg cert issue` signs further "
            "certificates by it"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Talweg CA")
    certificate = (
        _builder(name, name, key.public_key(), days=_CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_whole(folder / CA_KEY_FILE, _key_pem(key))
    write_whole(folder / CA_FILE, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def issue(
    folder: Path, name: str, *, hosts: Sequence[str] = (), days: int = 365, replace: bool = False
) -> tuple[Path, Path]:
    """Make a certificate that the authority of a folder signs, for a server or a client.

    Args:
        folder: The authority's.
        name: Of the files: NAME.pem, with the authority's certificate at its end, and
            NAME-key.pem.
        hosts: The names and addresses of a server; none for a client.
        days: How long it holds.
        replace: Whether it may take the place of an earlier one.

    Returns:
        The files of certificate and key.

    Raises:
        CertificateError: There is no authority, or there are such files.
        OSError: A file cannot be read or written.
    """
    if not (folder / CA_KEY_FILE).exists():
        raise CertificateError(f"{folder} holds no certificate authority: run `talweg cert init`")
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}-key.pem"
    if not replace and (certificate_file.exists() or key_file.exists()):
        raise CertificateError(f"{certificate_file} exists; --replace makes a new one instead")
    ca_pem = (folder / CA_FILE).read_bytes()
    ca = x509.load_pem_x509_certificate(ca_pem)
    ca_key = serialization.load_pem_private_key((folder / CA_KEY_FILE).read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{folder / CA_KEY_FILE} holds no key of `talweg cert init`")
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(_name(hosts[0] if hosts else name), ca.subject, key.public_key(), days=days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if hosts:
        names = [_alternative(host) for host in dict.fromkeys((*hosts, *_LOCAL))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM) + ca_pem
    # The key first: a server that sees the new certificate finds its key.
    write_whole(key_file, _key_pem(key))
    write_whole(certificate_file, pem, mode=0o644)
    return certificate_file, key_file


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    # Clocks of other machines may be behind.
    begin = datetime.now(UTC) - _BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alternative(host: str) -> x509.GeneralName:
    address: IPv4Address | IPv6Address
    try:
        address = ip_address(host)
    except ValueError:
        return x509.DNSName(host)
    return x509.IPAddress(address)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
