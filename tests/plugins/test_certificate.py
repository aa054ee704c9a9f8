"""The modules `certificate` and `certificate_authority` without a host: real keys, requests and certificates."""

import grp
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from .modules import credentials, load, load_action

_MODULE, _ACTION, _AUTHORITY = load("certificate"), load_action("certificate"), load("certificate_authority")
_OWN_GROUP = grp.getgrgid(os.getegid()).gr_name
_ADDRESSES = ["10.0.0.1", "server.example.org", "2001:db8::1"]
_DAYS_LEFT = 30


class _Commands:
    """Runs commands like AnsibleModule."""

    def __init__(self, folder: Path, check_mode: bool) -> None:
        self.tmpdir, self.check_mode = str(folder), check_mode

    def run_command(self, words: list[str]) -> tuple[int, str, str]:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def _group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the group of the folder of keys by one that every user may set."""
    monkeypatch.setattr(credentials, "FOLDER_GROUP", _OWN_GROUP)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Return the folder of a CA."""
    return _create_authority(tmp_path / "local" / "ca")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root folder of a bare host."""
    (tmp_path / "root/etc").mkdir(parents=True)
    return tmp_path / "root"


def _create_authority(folder: Path) -> Path:
    _AUTHORITY.Authority(folder, "frota", 3650).apply()
    return folder


def _host(root: Path, authority: Path | None, *, check_mode: bool = False, **params: Any) -> Any:
    options = {"name": "server", "common_name": "server", "addresses": _ADDRESSES, "group": "root", "days": 365}
    ca = authority.joinpath("ca.crt").read_text() if authority else ""
    options |= {"authority_certificate": ca, "certificate": "", "days_left": _DAYS_LEFT, **params}
    return _MODULE.Host(options, _Commands(root.parent, check_mode), root)


def _play(root: Path, authority: Path, **params: Any) -> Any:
    """Run the action plugin's steps on a host; return the host as it was compared before."""
    host = _host(root, authority, **params)
    request = _MODULE.apply_changes(host)
    if request:
        options = host.params
        signed = _ACTION.sign(authority, request, options["common_name"], options["addresses"], options["days"])
        assert _MODULE.apply_changes(_host(root, authority, **params, certificate=signed)) == ""
    return host


def test_valid_certificate_is_kept(root: Path, authority: Path) -> None:
    """A valid certificate is kept, whatever the notation of its addresses."""
    _play(root, authority)
    second_run = _host(root, authority, addresses=["2001:DB8:0::1", "server.example.org", "10.0.0.1"])
    assert (second_run.diff(), second_run.reasons) == ([], [])
    assert len(second_run.digest()) == 64


def test_check_mode_without_authority(root: Path) -> None:
    """Check mode on a bare host without a CA shows the files to create and creates none."""
    host = _host(root, None)
    assert [Path(difference["after_header"]).name for difference in host.diff()] == [
        *("frota", "certificates", "credentials"),
        "server.crt",
    ]
    assert (host.reasons, host.digest()) == (["there is no key"], "")
    assert list((root / "etc").iterdir()) == []


def test_key_stays_on_the_host(root: Path, authority: Path) -> None:
    """Neither differences nor certificate requests contain the private key."""
    host = _host(root, authority)
    output = f"{host.diff()}{_MODULE.apply_changes(host)}{host.diff()}"
    secret = host.key.read_text().splitlines()[1]
    assert "PRIVATE" in host.key.read_text()
    assert "CERTIFICATE REQUEST" in output
    assert "PRIVATE" not in output
    assert secret not in output


def _expiring(root: Path, authority: Path) -> dict[str, Any]:
    _play(root, authority, days=_DAYS_LEFT - 1)
    return {}


def _of_another_key(root: Path, authority: Path) -> dict[str, Any]:
    _play(root, authority)
    _host(root, authority).key.unlink()
    _MODULE.apply_changes(_host(root, authority))
    return {}


def _of_another_authority(root: Path, authority: Path) -> dict[str, Any]:
    _play(root, _create_authority(authority.parent / "former"))
    return {}


def _damaged(root: Path, authority: Path) -> dict[str, Any]:
    _play(root, authority)
    _host(root, authority).certificate.write_text("nothing")
    return {}


def _with(**params: Any) -> Callable[[Path, Path], dict[str, Any]]:
    def play(root: Path, authority: Path) -> dict[str, Any]:
        _play(root, authority)
        return params

    return play


@pytest.mark.parametrize(
    ("invalidate", "reason"),
    [
        pytest.param(_expiring, "it expires within 30 days", id="expiring"),
        pytest.param(_of_another_key, "the certificate is for another key", id="another key"),
        pytest.param(_of_another_authority, "the authority differs", id="another authority"),
        pytest.param(_damaged, "the certificate cannot be read", id="damaged"),
        pytest.param(_with(common_name="other"), "the common name differs", id="another name"),
        pytest.param(
            _with(addresses=["10.0.0.2"]),
            "the addresses differ: DNS:server.example.org, IP:10.0.0.1, IP:2001:db8::1",
            id="other addresses",
        ),
        pytest.param(
            _with(addresses=[]),
            "the addresses differ: DNS:server.example.org, IP:10.0.0.1, IP:2001:db8::1",
            id="no addresses",
        ),
    ],
)
def test_invalid_certificate_is_renewed(
    root: Path, authority: Path, invalidate: Callable[[Path, Path], dict[str, Any]], reason: str
) -> None:
    """An invalid certificate is renewed with the same key, and check mode shows the reason."""
    params = invalidate(root, authority)
    preview = _host(root, authority, **params)
    key, differences = preview.key.read_text(), preview.diff()
    assert preview.reasons == [reason]
    assert differences[-1]["before"] == f"{reason}\n"
    _play(root, authority, **params)
    second_run = _host(root, authority, **params)
    assert (second_run.diff(), second_run.key.read_text()) == ([], key)


def test_check_mode_digest_of_a_renewal(root: Path, authority: Path) -> None:
    """Check mode has no digest of a certificate to renew, so that it shows the restarts."""
    digest = _play(root, authority).digest()
    assert _host(root, authority, check_mode=True).digest() == digest
    assert _host(root, authority, check_mode=True, common_name="other").digest() == ""


def test_key_permissions_are_restored(root: Path, authority: Path) -> None:
    """Wrong permissions of a key are corrected without a new certificate."""
    host = _play(root, authority)
    digest = host.digest()
    host.key.chmod(0o644)
    [difference] = _host(root, authority).diff()
    assert difference["before"].startswith("mode 0644 ")
    second_run = _play(root, authority)
    assert second_run.key.stat().st_mode & 0o777 == 0o600
    assert (_host(root, authority).diff(), second_run.digest()) == ([], digest)


def test_key_is_readable_by_its_group(root: Path, authority: Path) -> None:
    """The key's group may read it, and nobody else."""
    key = _play(root, authority, group="adm" if os.geteuid() == 0 else _OWN_GROUP).key
    assert key.stat().st_mode & 0o777 == (0o600 if os.geteuid() and _OWN_GROUP == "root" else 0o640)


def test_unknown_group_is_an_error(root: Path, authority: Path) -> None:
    """A group that does not exist on the host is an error with the command to create it."""
    with pytest.raises(_MODULE.Fault, match=r"no group no-such-group.*groupadd"):
        _play(root, authority, group="no-such-group")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["-subj", "/CN=other"], id="another name"),
        pytest.param(["-subj", "/CN=server", "-addext", "basicConstraints=critical,CA:TRUE"], id="a CA"),
        pytest.param(["-subj", "/CN=server", "-addext", "subjectAltName=DNS:other"], id="another address"),
        pytest.param(["-subj", "/CN=server", "-addext", "nameConstraints=permitted;DNS:example.org"], id="constraints"),
    ],
)
def test_requested_extensions_are_ignored(root: Path, authority: Path, words: list[str]) -> None:
    """The certificate follows the inventory; name, addresses and extensions in the request are ignored."""
    key = _play(root, authority).key
    command = ["openssl", "req", "-new", "-key", str(key), *words]
    request = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pem = _ACTION.sign(authority, request, "server", ["10.0.0.1", "server.example.org"], 365)
    signed = x509.load_pem_x509_certificate(pem.encode())
    assert [name.value for name in signed.subject] == ["server"]
    assert [name.oid for name in signed.subject] == [NameOID.COMMON_NAME]
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {"10.0.0.1", "server.example.org"}
    assert not signed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert {extension.oid._name for extension in signed.extensions} == {
        *("basicConstraints", "keyUsage", "extendedKeyUsage", "subjectAltName"),
        *("subjectKeyIdentifier", "authorityKeyIdentifier"),
    }
    assert signed.not_valid_before_utc < datetime.now(UTC)


def test_forged_request_is_rejected(root: Path, authority: Path) -> None:
    """A request that was not signed with its own key is rejected."""
    request = x509.load_pem_x509_csr(_MODULE.apply_changes(_host(root, authority)).encode())
    der = request.public_bytes(Encoding.DER)
    forged = x509.load_der_x509_csr(der[:-1] + bytes([der[-1] ^ 1]))
    with pytest.raises(ValueError, match="not made with the key"):
        _ACTION.sign(authority, forged.public_bytes(Encoding.PEM).decode(), "server", [], 365)


def test_authority_is_created_once(tmp_path: Path) -> None:
    """The CA is created once, with a key that only its owner can read."""
    folder = _create_authority(tmp_path / "local" / "ca")
    before = {path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in folder.iterdir()}
    assert {name: mode for name, (_, mode) in before.items()} == {"ca.key": 0o600, "ca.crt": 0o644}
    assert folder.stat().st_mode & 0o777 == 0o700
    authority = _AUTHORITY.Authority(folder, "frota", 3650)
    assert authority.diff() == []
    authority.apply()
    assert {path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in folder.iterdir()} == before


def test_check_mode_of_the_authority(tmp_path: Path) -> None:
    """Check mode shows the files of a missing CA and creates none."""
    differences = _AUTHORITY.Authority(tmp_path / "ca", "frota", 3650).diff()
    assert [Path(difference["after_header"]).name for difference in differences] == ["ca", "ca.key", "ca.crt"]
    assert list(tmp_path.iterdir()) == []


def test_lost_ca_certificate_is_restored(root: Path, authority: Path) -> None:
    """A new certificate of the CA's key keeps the hosts' certificates valid."""
    _play(root, authority)
    (authority / "ca.crt").unlink()
    _create_authority(authority)
    assert _host(root, authority).reasons == []


def test_ca_key_permissions_are_restored(authority: Path) -> None:
    """Wrong permissions of the CA's key are corrected."""
    (authority / "ca.key").chmod(0o644)
    [difference] = _AUTHORITY.Authority(authority, "frota", 3650).diff()
    assert difference["before"].startswith("mode 0644 ")
    _create_authority(authority)
    assert (authority / "ca.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "nothing\n"])
def test_damaged_ca_key_is_an_error(authority: Path, text: str) -> None:
    """A damaged CA key is never replaced; the error says how to continue."""
    (authority / "ca.key").write_text(text)
    with pytest.raises(_AUTHORITY.Fault, match=r"Restore the fleet's key, or move .*/ca away"):
        _AUTHORITY.Authority(authority, "frota", 3650).diff()
    assert (authority / "ca.key").read_text() == text
