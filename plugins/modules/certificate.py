#!/usr/bin/python3
"""A private key that is generated on its host and never leaves it, and its certificate by the fleet's CA."""

import hashlib
import ipaddress
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils import credentials  # type: ignore[import-untyped]  # found by Ansible
from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Entry,
    Fault,
    access_of,
    diff_item,
    own_access,
    set_access,
    sync_folder,
    write,
)

DOCUMENTATION = """
module: certificate
short_description: A private key that is generated on the host, and its certificate
description:
  - Writes the key to C(/etc/frota/credentials/NAME.key), the certificate to C(/etc/frota/certificates/NAME.crt) and the
    CA's certificate to C(ca.crt) beside it. Ansible never reads, shows or transfers the key.
  - Renews a certificate when its key, name, addresses or CA differ, or when it expires soon. The host creates a
    certificate request; the action plugin takes only the public key from it and signs what the options say.
  - Sets the fact C(certificates_digests), certificate name to SHA-256 of its file.
  - Check mode reports the same changes and the same C(diff) without making them.
options:
  name: {type: str, required: true, description: Base name of the files.}
  common_name: {type: str, required: true, description: Common name (CN) of the certificate.}
  addresses: {type: list, elements: str, default: [], description: Subject alternative names.}
  group: {type: str, default: root, description: Group that may read the key besides root.}
  authority: {type: path, required: true, description: "Folder of the CA on the control node, with C(ca.key)."}
  days: {type: int, default: 365, description: Validity of a new certificate in days.}
  days_left: {type: int, default: 30, description: Remaining validity in days below which a certificate is renewed.}
  authority_certificate: {type: str, default: "", description: Set by the action plugin.}
  certificate: {type: str, default: "", description: Set by the action plugin.}
author: frota
"""

EXAMPLES = """
- certificate:
    name: server
    common_name: server
    addresses: [10.0.0.1, server.example.org]
    authority: .local/ca
"""

RETURN = """
digest:
  type: str
  returned: success
  description: SHA-256 of the certificate's file in hexadecimal; empty in check mode if it would be renewed.
reasons: {type: list, elements: str, returned: success, description: Why the certificate was, or would be, renewed.}
"""

FILE_MODE = 0o644
FOLDER_MODE = 0o755
PEM = re.compile(r"-----BEGIN [^-]+-----\n.*?-----END [^-]+-----\n", re.DOTALL)


def alternative_name(address: str) -> str:
    """Return an address as a subject alternative name in canonical form, DNS:name or IP:number."""
    try:
        return f"IP:{ipaddress.ip_address(address)}"
    except ValueError:
        return f"DNS:{address}"


def alternative_names(output: str) -> set[str]:
    """Return the subject alternative names that openssl prints (`DNS:a, IP Address:10.0.0.1`)."""
    line = re.search(r"Subject Alternative Name:.*\n\s+(.*)", output)
    names = line[1].split(", ") if line else []
    return {alternative_name(name.removeprefix("IP Address:").removeprefix("DNS:")) for name in names}


@dataclass
class Host:
    """The host compared with its desired state; `root` is the root folder of its files."""

    params: Mapping[str, Any]
    module: AnsibleModule
    root: Path = Path("/")
    entries: list[Any] = field(init=False)  # with differences
    reasons: list[str] = field(init=False)  # for a renewal

    def __post_init__(self) -> None:
        self.entries = [entry for entry in self._desired_entries() if entry.diff()]
        self.reasons = list(self._reasons())

    @property
    def key(self) -> Path:
        return self.root / "etc/frota/credentials" / f"{self.params['name']}.key"

    @property
    def certificate(self) -> Path:
        return self.root / "etc/frota/certificates" / f"{self.params['name']}.crt"

    @property
    def key_access(self) -> Any:
        return credentials.key_access(self.params["group"])

    def _desired_entries(self) -> Iterable[Any]:
        folder = self.root / "etc/frota"
        yield Entry(folder, own_access(FOLDER_MODE))
        yield Entry(folder / "certificates", own_access(FOLDER_MODE))
        yield credentials.folder(folder / "credentials")
        if self.params["authority_certificate"]:  # in check mode the CA may not exist yet
            yield Entry(folder / "certificates" / "ca.crt", own_access(FILE_MODE), self.params["authority_certificate"])

    def _reasons(self) -> Iterable[str]:
        """Yield the first reason for a renewal, if there is one."""
        if not self._has(self.key):
            yield "there is no key"
        elif not self._has(self.certificate):
            yield "there is no certificate"
        else:
            yield from self._differences()

    def _differences(self) -> Iterable[str]:
        fields = ("-subject", "-nameopt", "RFC2253", "-pubkey", "-ext", "subjectAltName")
        code, output, _ = self._openssl("x509", "-in", self.certificate, "-noout", *fields)
        names, desired = alternative_names(output), {alternative_name(address) for address in self.params["addresses"]}
        days = self.params["days_left"]
        if code:
            yield "the certificate cannot be read"
        elif PEM.findall(output) != PEM.findall(self._openssl("pkey", "-in", self.key, "-pubout")[1]):
            yield "the certificate is for another key"
        elif f"subject=CN={self.params['common_name']}\n" not in output:
            yield "the common name differs"
        elif names != desired:
            yield f"the addresses differ: {', '.join(sorted(names)) or 'none'}"
        elif self._openssl("x509", "-in", self.certificate, "-noout", "-checkend", days * 86400)[0]:
            yield f"it expires within {days} days"
        elif not self._is_signed_by_authority():
            yield "the authority differs"

    def _is_signed_by_authority(self) -> bool:
        with tempfile.TemporaryDirectory(dir=self.module.tmpdir) as folder:
            ca = Path(folder, "ca.crt")
            ca.write_text(self.params["authority_certificate"], encoding="ascii")
            return not self._openssl("verify", "-no-CApath", "-no-CAstore", "-CAfile", ca, self.certificate)[0]

    @staticmethod
    def _has(path: Path) -> bool:
        return path.exists() and path.stat().st_size > 0

    @property
    def has_wrong_key_access(self) -> bool:
        return self._has(self.key) and access_of(self.key) != self.key_access

    def diff(self) -> list[dict[str, str]]:
        """Return every difference in the format of Ansible's --diff; for a certificate, its names."""
        differences = [difference for entry in self.entries for difference in entry.diff()]
        if self.has_wrong_key_access:
            differences.append(diff_item(self.key, f"{access_of(self.key)}\n", f"{self.key_access}\n"))
        if self.reasons:
            names = ", ".join([self.params["common_name"], *map(alternative_name, self.params["addresses"])])
            differences.append(diff_item(self.certificate, f"{self.reasons[0]}\n", f"a certificate for {names}\n"))
        return differences

    def apply(self) -> None:
        """Create or fix the folders, the CA's certificate and the key."""
        for entry in self.entries:
            entry.apply()
        if not self._has(self.key):
            self._generate_key()
        if self.has_wrong_key_access:
            set_access(self.key, self.key_access)

    def _generate_key(self) -> None:
        """Generate a key atomically and durably; at no time can other users read it."""
        temporary = self.key.with_suffix(".unfinished")
        temporary.unlink(missing_ok=True)
        umask = os.umask(0o077)
        try:
            self._run_openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", temporary)
        finally:
            os.umask(umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(self.key)
        sync_folder(self.key.parent)

    def request(self) -> str:
        """Return a certificate signing request, which proves that the host has the key."""
        return self._run_openssl("req", "-new", "-key", self.key, "-subj", f"/CN={self.params['common_name']}")

    def digest(self) -> str:
        """Return the digest of the certificate's file; empty if check mode would renew it."""
        if self.module.check_mode and self.reasons:
            return ""
        return hashlib.sha256(self.certificate.read_bytes()).hexdigest() if self._has(self.certificate) else ""

    def _openssl(self, *arguments: object) -> tuple[int, str, str]:
        code, out, err = self.module.run_command(["openssl", *map(str, arguments)])
        return int(code), str(out), str(err)

    def _run_openssl(self, *arguments: object) -> str:
        """Return openssl's output. Raises Fault if it fails."""
        code, out, err = self._openssl(*arguments)
        if code:
            raise Fault(f"{self.params['name']}: openssl {arguments[0]} failed: {err.strip()}")
        return out


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "name": {"type": "str", "required": True},
        "common_name": {"type": "str", "required": True},
        "addresses": {"type": "list", "elements": "str", "default": []},
        "group": {"type": "str", "default": "root"},
        "authority": {"type": "path", "required": True},
        "days": {"type": "int", "default": 365},
        "days_left": {"type": "int", "default": 30},
        "authority_certificate": {"type": "str", "default": ""},
        "certificate": {"type": "str", "default": ""},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    if shutil.which("openssl") is None:
        module.fail_json(msg="This host has no openssl, which generates the keys: install the package openssl")
    try:
        host = Host(module.params, module)
        diff, request = host.diff(), ""
        if not module.check_mode:
            request = apply_changes(host)
    except Fault as fault:
        module.fail_json(msg=str(fault))
    result = {"reasons": host.reasons, "digest": host.digest(), "request": request, "diff": diff}
    module.exit_json(changed=diff != [], **result)


def apply_changes(host: Host) -> str:
    """Apply the host's changes; return a signing request if a certificate is missing, else an empty text."""
    host.apply()
    if host.reasons and host.params["certificate"]:
        write(host.certificate, host.params["certificate"], own_access(FILE_MODE))
    return host.request() if host.reasons and not host.params["certificate"] else ""


if __name__ == "__main__":
    main()
