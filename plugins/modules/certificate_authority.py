#!/usr/bin/python3
"""The fleet's certificate authority (CA), a key and its certificate in a folder on the control node."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Entry,
    Fault,
    access_of,
    diff_item,
    own_access,
    set_access,
    write,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DOCUMENTATION = """
module: certificate_authority
short_description: A certificate authority (CA) in a folder on the control node
description:
  - Generates C(ca.key), readable by its owner only, and the self-signed C(ca.crt) if they are missing. Replaces neither
    as long as the certificate matches the key. Requires the Python library C(cryptography).
  - Check mode reports the same changes and the same C(diff) without making them.
options:
  folder: {type: path, required: true, description: "Folder of the CA, accessible by its owner only."}
  common_name: {type: str, default: frota, description: Common name (CN) of the CA.}
  days: {type: int, default: 3650, description: Validity of a new certificate in days.}
author: frota
"""

EXAMPLES = """
- certificate_authority:
    folder: .local/ca
"""

RETURN = "{}"

KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644
FOLDER_MODE = 0o700
UNUSED_KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("crl_sign", "encipher_only", "decipher_only"),
)
CLOCK_TOLERANCE = timedelta(days=1)  # for hosts whose clocks are behind


class Authority:
    """The folder compared with its desired state."""

    def __init__(self, folder: Path, common_name: str, days: int) -> None:
        self._common_name, self._days = common_name, days
        self._folder = Entry(folder, own_access(FOLDER_MODE))
        self._key, self._certificate = folder / "ca.key", folder / "ca.crt"

    def _wrong_access(self) -> list[tuple[Path, int]]:
        """Return the files with wrong permissions, and the mode of each."""
        modes = {self._key: KEY_MODE, self._certificate: CERTIFICATE_MODE}
        return [(path, mode) for path, mode in modes.items() if path.exists() and access_of(path) != own_access(mode)]

    def _load_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key. Raises Fault."""
        try:
            key = serialization.load_pem_private_key(self._key.read_bytes(), password=None)
        except (TypeError, ValueError):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            folder = self._key.parent
            raise Fault(
                f"{self._key} is not an unencrypted elliptic curve key. Restore the fleet's key, or move "
                f"{folder} away: the next run creates a new CA and new certificates for all hosts"
            )
        return key

    def reason(self) -> str:
        """Return the reason for a new certificate; empty if the current one is valid. Raises Fault."""
        if not self._key.exists():
            return "there is no key"
        key = self._load_key()
        try:
            certificate = x509.load_pem_x509_certificate(self._certificate.read_bytes())
        except (FileNotFoundError, ValueError):
            return "there is no certificate"
        return "" if certificate.public_key() == key.public_key() else "the certificate is for another key"

    def diff(self) -> list[dict[str, str]]:
        """Return every difference in the format of Ansible's --diff, without keys."""
        differences = list(self._folder.diff())
        if not self._key.exists():
            differences.append(diff_item(self._key, "", "a key\n"))
        if reason := self.reason():
            differences.append(diff_item(self._certificate, f"{reason}\n", f"a certificate of {self._common_name}\n"))
        for path, mode in self._wrong_access():
            differences.append(diff_item(path, f"{access_of(path)}\n", f"{own_access(mode)}\n"))
        return differences

    def apply(self) -> None:
        """Create what is missing; the key is on disk before it signs anything."""
        self._folder.path.mkdir(parents=True, exist_ok=True)
        self._folder.apply()
        if not self._key.exists():
            form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(serialization.Encoding.PEM, *form)
            write(self._key, pem.decode(), own_access(KEY_MODE))
        if self.reason():
            pem = self._self_signed(self._load_key()).public_bytes(serialization.Encoding.PEM)
            write(self._certificate, pem.decode(), own_access(CERTIFICATE_MODE))
        for path, mode in self._wrong_access():
            set_access(path, own_access(mode))

    def _self_signed(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._common_name)])
        usage = x509.KeyUsage(key_cert_sign=True, **dict.fromkeys(UNUSED_KEY_USAGES, False))
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - CLOCK_TOLERANCE).not_valid_after(now + timedelta(days=self._days))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True).add_extension(identifier, critical=False)
        return builder.sign(key, hashes.SHA256())


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "folder": {"type": "path", "required": True},
        "common_name": {"type": "str", "default": "frota"},
        "days": {"type": "int", "default": 3650},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    params = module.params
    authority = Authority(Path(params["folder"]), params["common_name"], params["days"])
    try:
        diff = authority.diff()
        if diff and not module.check_mode:
            authority.apply()
    except Fault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(changed=diff != [], diff=diff)


if __name__ == "__main__":
    main()
