"""Sign the hosts' certificate requests on the control node; the module of the same name has the documentation."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]  # Ansible carries no types
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLOCK_TOLERANCE = timedelta(days=1)  # for hosts whose clocks are behind
KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Compare the host, sign its certificate request if it has one, and install the certificate."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result, and the digests of the host's certificates as a fact."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        folder = Path(arguments["authority"])
        arguments["authority_certificate"] = self._authority(folder)
        host = self._execute_module("certificate", arguments, task_vars=task_vars)
        if request := host.get("request"):
            arguments["certificate"] = self._signed(folder, request)
            installed = self._execute_module("certificate", arguments, task_vars=task_vars)
            host = {**installed, "changed": True, "reasons": host["reasons"], "diff": host["diff"]}
        host.pop("request", None)
        if not host.get("failed"):
            digests = (task_vars or {}).get("ansible_facts", {}).get("certificates_digests", {})
            host["ansible_facts"] = {"certificates_digests": {**digests, arguments["name"]: host["digest"]}}
        return {**result, **host}

    def _authority(self, folder: Path) -> str:
        if folder.joinpath("ca.crt").exists():
            return folder.joinpath("ca.crt").read_text(encoding="ascii")
        if self._task.check_mode:
            return ""
        raise AnsibleActionFail(f"{folder} has no CA: the entry point `authority` of the role creates it")

    def _signed(self, folder: Path, request: str) -> str:
        arguments = {"common_name": "", "addresses": [], "days": 365, **self._task.args}
        try:
            return sign(folder, request, arguments["common_name"], arguments["addresses"], int(arguments["days"]))
        except (TypeError, ValueError) as error:
            raise AnsibleActionFail(f"{self._task.args['name']}: cannot sign the request: {error}") from error


def sign(folder: Path, request: str, common_name: str, addresses: Iterable[str], days: int) -> str:
    """Return a certificate, in PEM, for the public key of a request.

    Name and addresses come from the arguments (the inventory); those in the request are ignored. Raises ValueError for
    a request with an invalid signature, and TypeError for a key that is not an elliptic curve key.
    """
    authority = x509.load_pem_x509_certificate(folder.joinpath("ca.crt").read_bytes())
    signer = serialization.load_pem_private_key(folder.joinpath("ca.key").read_bytes(), password=None)
    csr = x509.load_pem_x509_csr(request.encode())
    key, now = csr.public_key(), datetime.now(UTC)
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(signer, EllipticCurvePrivateKey):
        raise TypeError("the host's key or the authority's key is not an elliptic curve key")
    if not csr.is_signature_valid:
        raise ValueError("the request was not made with the key that it names")
    builder = x509.CertificateBuilder(authority.subject, name_of(common_name), key, x509.random_serial_number())
    builder = builder.not_valid_before(now - CLOCK_TOLERANCE).not_valid_after(now + timedelta(days=days))
    for extension, critical in extensions(addresses):
        builder = builder.add_extension(extension, critical)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    signed = builder.add_extension(identifier, critical=False).sign(signer, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def name_of(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def extensions(addresses: Iterable[str]) -> Iterable[tuple[x509.ExtensionType, bool]]:
    """Yield the extensions of a host's certificate, each with its `critical` flag."""
    yield x509.BasicConstraints(ca=False, path_length=None), True
    yield x509.KeyUsage(**{usage: usage == "digital_signature" for usage in KEY_USAGES}), True
    yield x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False
    if names := sorted({alternative_name(address) for address in addresses}, key=repr):
        yield x509.SubjectAlternativeName(names), False


def alternative_name(address: str) -> x509.GeneralName:
    """Return an address as a subject alternative name, an IP address or else a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)
