"""Who signs: a certificate with its key. One's own by default, made once for a user of a machine; or the site's.

One's own says that two files come from one machine, and that nobody has changed them since; not who its owner is. For
that an authority has to sign, and the site names what it gave.
"""

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from warehouse.errors import Mistake

if TYPE_CHECKING:
    from cryptography import x509

_LASTS = timedelta(days=3650)
_ALGORITHMS = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}


@dataclass(frozen=True)
class Certificate:
    """A chain of certificates, the signer's first, and the signer's private key; both PEM."""

    chain: bytes
    key: bytes

    @cached_property
    def signer(self) -> "x509.Certificate":
        """The certificate that the key belongs to."""
        from cryptography import x509

        return x509.load_pem_x509_certificates(self.chain)[0]

    @property
    def serial(self) -> str:
        """The number that tells it from others of its authority, as C2PA writes it."""
        return str(self.signer.serial_number)

    @property
    def algorithm(self) -> bytes:
        """How the key signs, as C2PA names it.

        Raises:
            ValueError: C2PA knows no such key.
        """
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        match load_pem_private_key(self.key, None):
            case ec.EllipticCurvePrivateKey(curve=curve) if curve.name in _ALGORITHMS:
                return _ALGORITHMS[curve.name]
            case ed25519.Ed25519PrivateKey():
                return b"ed25519"
            case rsa.RSAPrivateKey():
                return b"ps256"
        raise ValueError("its key is of a kind that C2PA does not sign with")


def load(chain: Path | None, key: Path | None) -> Certificate:
    """The site's certificate, or one's own where it names none.

    Raises:
        Mistake: a file is missing or cannot be used, the certificate is over, or its key is another's.
    """
    if chain is None and key is None:
        return own()
    if chain is None or key is None:
        raise Mistake("the site names a certificate without its key, or a key without its certificate: name both")
    try:
        found = Certificate(chain.read_bytes(), key.read_bytes())
        signer, _ = found.signer, found.algorithm
        is_whole = _public(found.key) == _plain(signer.public_key())
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise Mistake(f"the site's certificate {chain} with the key {key} cannot be used: {error}") from None
    if not is_whole:
        raise Mistake(f"the key {key} is not that of the certificate {chain}")
    if signer.not_valid_after_utc < datetime.now(UTC):
        raise Mistake(f"the certificate {chain} ended on {signer.not_valid_after_utc:%Y-%m-%d}: name a newer one")
    return found


def own() -> Certificate:
    """This user's certificate on this machine; made where there is none, or it is over."""
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    place = home / "valle" / "signing.pem"
    try:
        if found := _read(place):
            return found
        place.parent.mkdir(parents=True, exist_ok=True)
        made = _make()
        with NamedTemporaryFile(dir=place.parent, delete=False) as file:  # which nobody else may read
            file.write(made.key + made.chain)
        try:
            os.link(file.name, place)  # the first one wins
        except FileExistsError:
            if not (found := _read(place)):
                os.replace(file.name, place)
                return made
            made = found
        Path(file.name).unlink(missing_ok=True)
        return made
    except OSError:
        return _make()  # for this once: there is nowhere to keep it


def _read(place: Path) -> Certificate | None:
    """What `own` has kept, if it is still of use."""
    if not place.exists():
        return None
    content = place.read_bytes()
    key, mark, chain = content.partition(b"-----BEGIN CERTIFICATE-----")
    found = Certificate(mark + chain, key)
    try:
        return found if found.signer.not_valid_after_utc > datetime.now(UTC) and found.algorithm else None
    except (ValueError, IndexError):
        return None


def _make() -> Certificate:
    """A certificate signed by an authority of its own, for C2PA takes none that signs itself; the authority is gone."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("authority", authority, "authority", authority)
    leaf = _certificate(f"valle on {socket.gethostname()}"[:64], key, "authority", authority)
    pem = serialization.Encoding.PEM
    chain = leaf.public_bytes(pem) + root.public_bytes(pem)
    plain = serialization.NoEncryption()
    return Certificate(chain, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def _certificate(subject: str, key: Any, issuer: str, issuer_key: Any) -> "x509.Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "valle")
        return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])

    is_authority, now = key is issuer_key, datetime.now(UTC)
    usages = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=is_authority, crl_sign=is_authority, decipher_only=False, **usages
    )
    building = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # a clock may be behind
        .not_valid_after(now + _LASTS)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(usage, critical=True)
    )
    if not is_authority:
        extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        building = building.add_extension(extended, critical=False)
    return building.sign(issuer_key, hashes.SHA256())


def _public(key: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return _plain(load_pem_private_key(key, None).public_key())


def _plain(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    plain: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return plain
