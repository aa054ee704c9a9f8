"""What Ansible's roles see to on a host, as pyinfra's operations: the state that the host's data gives."""

from io import StringIO
from pathlib import Path

# pyinfra is not in .venv: tools/peers puts it into bench/build.
from pyinfra import host  # type: ignore[import-not-found]  # only tools/peers fetches it
from pyinfra.facts.server import Command  # type: ignore[import-not-found]  # as above
from pyinfra.operations import apt, files, server, systemd  # type: ignore[import-not-found]  # as above

wanted, release = host.data.wanted, host.data.release

apt.packages(name="Packages are installed", packages=wanted["packages"])
for folder in host.loop(wanted["folders"]):
    files.directory(name=f"{folder['path']} is there", **folder)

if release:
    archive = f"/opt/frota/{release['name']}.tar.gz"
    ready = f"/opt/frota/releases/{release['name']}/ready"
    files.put(name="Release is sent", src=release["archive"], dest=archive)
    server.shell(name="Release is installed", commands=[f"test -e {ready} || sh -euc '{release['install']}'"])

changes = {}
for file in host.loop(wanted["files"]):
    place = {key: file[key] for key in ("mode", "user", "group")}
    if file["content"] is None:
        changes[file["path"]] = files.file(name=f"{file['path']} is private", path=file["path"], **place)
    else:
        source = StringIO(file["content"])
        changes[file["path"]] = files.put(name=f"{file['path']} is written", src=source, dest=file["path"], **place)
# Fails the run: a certificate that ends within 30 days is not for pyinfra to renew.
if wanted["certificates"]:
    checked = [f"openssl x509 -noout -checkend 2592000 -in {path}" for path in wanted["certificates"]]
    host.get_fact(Command, " && ".join(checked))
for link in host.loop(wanted["links"]):
    changes[link["path"]] = files.link(name=f"{link['path']} leads on", **link)

for unit, enabled in host.loop(wanted["units"].items()):
    systemd.service(name=f"{unit} runs", service=unit, running=True, enabled=enabled or None)
    name = Path(unit).stem
    # A template's instances share their unit file.
    parts = [f"/etc/frota/{name}.env", f"/etc/systemd/system/{unit}", "/opt/frota/current"]
    parts.append(f"/etc/systemd/system/{name.partition('@')[0]}@.service")
    concerned = [changes[path].did_change for path in parts if path in changes]
    if unit.startswith("frota-") and unit.endswith(".service"):
        systemd.service(
            name=f"{unit} is restarted where it changed",
            service=unit,
            restarted=True,
            daemon_reload=True,
            _if=lambda concerned=concerned: any(changed() for changed in concerned),
        )
