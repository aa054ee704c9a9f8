"""What `make` starts works whatever the login is set to, and refuses what it cannot work in with what to do."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .checkout import PLAYBOOKS, ROOT, load, mappings, task_files, tracked_files

FULL = bool(os.environ.get("FULL"))
_LOCALE = ("LANG", "LANGUAGE", "LC_")
_WRITES = re.compile(r"\b(mkdir|touch|mktemp|mv|mmdebstrap|venv|genpkey|useradd)\b|>\"\$")


def _environ(**variables: str) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith((*_LOCALE, "ANSIBLE_", "AWS_"))
    }
    return {**inherited, **variables}


def _call(
    *words: str, cwd: Path = ROOT, umask: int = -1, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command with variables of a login, and with no other locale, Ansible or AWS."""
    return subprocess.run(
        words,
        cwd=cwd,
        env=_environ(**(env or {})),
        umask=umask,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "pt_BR.ISO-8859-1", "LANGUAGE": "pt_BR:pt"},
    ],
    ids=lambda variables: " ".join(f"{name}={value}" for name, value in variables.items()),
)
def test_any_locale(variables: dict[str, str]) -> None:
    """Ansible runs with any locale of the user."""
    done = _call("tools/run", "ansible-inventory", "--inventory", "ação,", "--list", env=variables)
    assert done.returncode == 0, done.stderr
    assert "ação" in done.stdout


# What Ansible asks of a locale when it begins, without all the rest of it.
_LOCALE_OF_ANSIBLE = (
    "import locale, sys; locale.setlocale(locale.LC_ALL, ''); print(locale.getlocale()[1], sys.argv[1])"
)


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "pt_BR.UTF-8"},
        {"LANG": "xx_YY"},
        {"LANG": "C.UTF-8", "LC_MESSAGES": "zz_ZZ.UTF-8"},
        {"LC_CTYPE": "C"},
        {},
    ],
    ids=lambda variables: " ".join(f"{name}={value}" for name, value in variables.items()) or "none at all",
)
def test_locale_for_ansible(variables: dict[str, str]) -> None:
    """A UTF-8 locale that Ansible accepts is found, whatever the user's locale is."""
    done = _call("tools/run", "python", "-c", _LOCALE_OF_ANSIBLE, "ação", env=variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "UTF-8 ação\n"


def test_usable_locale_is_unchanged() -> None:
    """A usable locale of the user is not changed."""
    done = _call("tools/run", "python", "-c", "import os; print(os.environ.get('LC_ALL'))", env={"LANG": "C.UTF-8"})
    assert done.stdout == "None\n"


def test_user_environment(tmp_path: Path) -> None:
    """The user's environment changes what Ansible displays, but not its paths."""
    elsewhere = {f"ANSIBLE_{name}": str(tmp_path) for name in ("CONFIG", "INVENTORY", "ROLES_PATH", "COLLECTIONS_PATH")}
    done = _call(
        "tools/run",
        *("ansible-config", "dump", "--only-changed"),
        env={
            **elsewhere,
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "ANSIBLE_REMOTE_USER": "nobody",
            "PYTHONPATH": str(tmp_path),
        },
    )
    assert done.returncode == 0, done.stderr
    output = done.stdout
    assert f"['{ROOT}/roles']" in output
    assert "DEFAULT_STDOUT_CALLBACK(env: ANSIBLE_STDOUT_CALLBACK) = default" in output
    assert "nobody" not in output
    assert str(tmp_path) not in output


def test_embedded_aws_ignores_credentials_and_proxy(tmp_path: Path) -> None:
    """The user's AWS credentials and proxy have no effect on the embedded AWS."""
    checkout = _checkout(tmp_path)
    (checkout / ".local").mkdir()
    (checkout / ".local/fleet.cidr").write_text("10.42.0.0/16\n")
    script = "import os; print([(n, v) for n, v in os.environ.items() if n.startswith('AWS_') or n == 'no_proxy'])"
    variables = {
        "AWS_PROFILE": "work",
        "AWS_RETRY_MODE": "x",
        "http_proxy": "http://127.0.0.1:9",
        "no_proxy": "a.example",
    }
    done = _call("tools/run", "python", "-c", script, cwd=checkout, env=variables)
    assert done.stdout == "[('no_proxy', 'a.example,10.42.255.250')]\n"
    done = _call("tools/run", "python", "-c", script, "inventory/aws", cwd=checkout, env=variables)
    assert "('AWS_PROFILE', 'work')" in done.stdout


def test_files_are_readable_with_any_umask() -> None:
    """Created files are readable by others, whatever the user's umask is."""
    done = _call("tools/run", "python", "-c", "import os; print(oct(os.umask(0)))", umask=0o077)
    assert done.stdout == "0o22\n"


def _scripts() -> list[Path]:
    """Return the shell scripts of ours that run on a host or on the control node."""
    return [
        path
        for path in tracked_files()
        if path.is_relative_to(ROOT / "tools") or (path.is_relative_to(ROOT / "roles") and ".sh" in path.name)
        if path.read_text(encoding="utf-8").startswith("#!/bin/sh")
    ]


@pytest.mark.parametrize("script", _scripts(), ids=lambda path: path.name)
def test_scripts_set_a_umask(script: Path) -> None:
    """A script that creates files sets a umask."""
    text = script.read_text(encoding="utf-8")
    if _WRITES.search(text):
        assert re.search(r"(?m)^(umask 0[27][27]\b|\. tools/environment$)", text)


_HOMES = ["/proc", "/dev/null", "/proc/1/root/proc"]


@pytest.mark.parametrize("home", _HOMES)
def test_temporary_files_without_a_home(home: str, tmp_path: Path) -> None:
    """Ansible's temporary files are in the checkout if the home folder is not writable."""
    checkout = _checkout(tmp_path)
    done = _call(
        "tools/run", "python", "-c", "import os; print(os.environ['ANSIBLE_HOME'])", cwd=checkout, env={"HOME": home}
    )
    assert done.stdout == f"{checkout}/.local/ansible\n", done.stderr
    assert (checkout / ".local/ansible").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("home", _HOMES if FULL else _HOMES[-1:])
def test_unwritable_home(home: str, tmp_path: Path) -> None:
    """Ansible runs with an unwritable home folder."""
    checkout = _checkout(tmp_path)
    done = _call("tools/run", *_PING, cwd=checkout, env={"HOME": home})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / ".local/ansible").stat().st_mode & 0o777 == 0o700


def test_long_control_path(tmp_path: Path) -> None:
    """SSH connections are not shared if the path of the control socket would be too long."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    config = _call("tools/run", "ansible-config", "dump", "--type", "connection", env={"HOME": str(deep)}).stdout
    assert "-o ControlMaster=no" in config
    script = "import os; print(os.environ.get('ANSIBLE_SSH_ARGS'))"
    assert _call("tools/run", "python", "-c", script, env={"HOME": str(tmp_path.parent)}).stdout == "None\n"


def test_no_home() -> None:
    """Ansible runs without the variable HOME."""
    without = {name: value for name, value in _environ().items() if name != "HOME"}
    done = subprocess.run(["tools/run", *_PING], cwd=ROOT, env=without, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


_PING = [
    *("ansible", "localhost", "--inventory", "localhost,", "--connection", "local", "--module-name", "ping"),
    *("--extra-vars", f"ansible_python_interpreter={sys.executable}"),
]


def _checkout(folder: Path) -> Path:
    """Make a checkout of the tools and the inventory alone, with the tools of this one's .venv."""
    checkout = folder / "checkout"
    for name in ("tools", "inventory"):
        shutil.copytree(ROOT / name, checkout / name, symlinks=True)
    shutil.copy(ROOT / "ansible.cfg", checkout)
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    return checkout


def test_up_shows_errors_of_ansible(tmp_path: Path) -> None:
    """`make up` shows the error if Ansible cannot run."""
    checkout = _checkout(tmp_path)
    (checkout / ".local").mkdir()
    (checkout / ".local/fleet.cidr").write_text("127.77.0.0/16\n")
    (checkout / "ansible.cfg").write_text("[defaults\n")
    done = _call("tools/up", cwd=checkout)
    assert done.returncode == 1
    assert "[defaults" in done.stderr
    assert "restarted" not in done.stderr


def test_status_without_a_fleet(tmp_path: Path) -> None:
    """`make status` says what to do if there is no fleet, or an incomplete one."""
    checkout = _checkout(tmp_path)
    done = _call("tools/status", cwd=checkout)
    assert (done.returncode, "There is no fleet here" in done.stderr) == (1, True)
    (checkout / ".local").mkdir()
    (checkout / ".local/fleet.cidr").write_text("127.77.0.0/16\n")
    done = _call("tools/status", cwd=checkout)
    assert (done.returncode, "not complete" in done.stderr) == (1, True)


def test_status_of_hosts_that_do_not_respond(tmp_path: Path) -> None:
    """`make status` names the hosts that do not respond, each with the reason."""
    checkout = _checkout(tmp_path)
    (checkout / ".local/ssh").mkdir(parents=True)
    (checkout / ".local/fleet.cidr").write_text("127.77.0.0/16\n")
    config = checkout / ".local/ssh/config"
    config.write_text("Host sensor-server list-server\n  HostName 127.0.0.1\n  Port 1\n")
    config.chmod(0o600)
    done = _call("tools/status", cwd=checkout)
    assert done.returncode == 1
    assert re.search("list-server +.*Connection refused\n.*sensor-server +.*Connection refused", done.stdout)
    assert "0 of 2 hosts responded" in done.stdout
    assert "may have been restarted" in done.stderr


def _linked(checkout: Path) -> None:
    (checkout / ".venv").symlink_to(ROOT / ".venv")


def _copied(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    shutil.copy(ROOT / ".venv/pyvenv.cfg", checkout / ".venv")


def _repointed(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    packages = next((checkout / ".venv/lib").glob("python3*")) / "site-packages"
    (packages / "_frota.pth").write_text("/another/app/src")


def _without_python(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    (checkout / ".venv/ready").touch()
    for python in (checkout / ".venv/bin").glob("python*"):
        python.unlink()
        python.symlink_to("/nonexistent/python3")


def _with_others_hosts(checkout: Path) -> None:
    (checkout / ".local/bin").mkdir(parents=True)
    (checkout / ".local/bin/podman").write_text("exec podman --root /another/.local/podman/storage --runroot x\n")


def _writable(checkout: Path) -> None:
    checkout.chmod(0o777)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_linked, r"\.venv is a link to .*rm .*/\.venv\n"),
        (_copied, rf"belongs to another checkout \(made for {ROOT}/\.venv.*rm -r .*/\.venv\n"),
        (_repointed, r"runs /another/app/src\).*rm -r .*/\.venv\n"),
        (_with_others_hosts, r"are those of /another\. .*rm -r .*/\.local\n.*make down"),
        (_writable, r"anybody may write.*chmod o-w .*\n"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_foreign_checkouts_are_rejected(spoil: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    """A checkout with the .venv or the hosts of another one is rejected, with the command that helps."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "tools", checkout / "tools")
    assert _call("tools/prepare.sh", "venv", cwd=checkout).returncode == 0
    spoil(checkout)
    done = _call("tools/prepare.sh", "venv", cwd=checkout)
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert done.stdout == ""


def _made_by_another_python(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    (checkout / ".venv/ready").touch()
    packages = next((checkout / ".venv/lib").glob("python3*"))
    packages.rename(packages.with_name("python3.9"))


_UNUSABLE = [_without_python, _made_by_another_python]


@pytest.mark.parametrize("spoil", _UNUSABLE)
def test_unusable_venv_is_rebuilt(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    """A .venv that the present Python cannot use is marked for a rebuild."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "tools", checkout / "tools")
    spoil(checkout)
    assert _call("tools/prepare.sh", "venv", cwd=checkout).returncode == 0
    assert not (checkout / ".venv/ready").exists()  # which is what make goes by


@pytest.mark.parametrize("spoil", _UNUSABLE if FULL else _UNUSABLE[-1:])
def test_venv_of_another_python(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    """A venv of another Python is recreated, and the output names the Python."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "tools", checkout / "tools")
    spoil(checkout)
    made = _call("tools/venv", cwd=checkout)  # goes no further than the locks, which this checkout has not
    assert "Could not open requirements file" in made.stderr
    version = _call(".venv/bin/python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])", cwd=checkout).stdout
    assert f"Preparing .venv with Python {version.strip()} " in made.stdout
    assert [folder.name for folder in (checkout / ".venv/lib").iterdir()] == [f"python{version.strip()}"]


def test_venv_keeps_its_python(tmp_path: Path) -> None:
    """A .venv keeps its Python unless PYTHON names another one."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "tools", checkout / "tools")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    assert _call("tools/python", cwd=checkout).stdout.strip() == str(Path(sys.executable).resolve())
    assert _call("tools/python", cwd=checkout, env={"PYTHON": "/another/python3"}).stdout == "/another/python3\n"


@pytest.mark.parametrize("name", ["with space", "with:colon", "100%", "it's", "a$b", "back\\slash", "a(b)"])
def test_unusable_path_is_rejected(name: str, tmp_path: Path) -> None:
    """A path in which Ansible cannot work is rejected by name."""
    shutil.copytree(ROOT / "tools", tmp_path / name / "tools")
    done = _call("tools/prepare.sh", "venv", cwd=tmp_path / name)
    assert done.returncode == 1
    assert f"Move this one: {tmp_path / name}" in done.stderr


def test_apt_lock_timeouts() -> None:
    """Every wait for apt's lock lasts ten minutes."""
    lines = [line for path in _scripts() for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    uses = [line for line in lines if re.search(r"\bapt-get (update|install)|\blocked apt-get|\$program\" -o", line)]
    assert uses
    assert [line for line in uses if "DPkg::Lock::Timeout=600" not in line and "locked " not in line] == []


def _apt_tasks() -> list[dict[str, Any]]:
    files = [*task_files(), *PLAYBOOKS, *(ROOT / "molecule").rglob("*.yml")]
    return [mapping for path in files for mapping in mappings(load(path)) if "ansible.builtin.apt" in mapping]


@pytest.mark.parametrize("task", _apt_tasks(), ids=lambda task: task["ansible.builtin.apt"]["name"])
def test_apt_tasks_wait_for_locks(task: dict[str, Any]) -> None:
    """Every task with apt waits ten minutes for its locks."""
    assert task["ansible.builtin.apt"]["lock_timeout"] == 600
    if "update_cache" in task["ansible.builtin.apt"]:  # on hosts of the fleet; a lock that apt does not wait for itself
        assert "Could not get lock" in task["until"]
        assert task["retries"] * task["delay"] == 600


def test_aws_without_a_region() -> None:
    """The AWS inventory without a region fails with the variable's name and an example."""
    done = _call(".venv/bin/ansible-inventory", "--inventory", "inventory/aws", "--graph", env={"LANG": "C.UTF-8"})
    assert "set AWS_REGION, such as AWS_REGION=eu-west-1" in done.stderr


def test_tools_ignore_the_login_environment(tmp_path: Path) -> None:
    """The tools find the checkout and a temporary folder, whatever the environment says."""
    (tmp_path / "tools").mkdir()  # where `cd tools/..` would go
    script = "import os, tempfile; print(os.getcwd(), tempfile.gettempdir())"
    for tool in ("tools/run", str(ROOT / "tools/run")):
        done = _call(tool, "python", "-c", script, env={"CDPATH": str(tmp_path), "TMPDIR": "/nonexistent"})
        assert done.stdout == f"{ROOT} /tmp\n", done.stderr
