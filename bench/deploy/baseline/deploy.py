"""The checks of Ansible's roles as pyinfra's operations. The data of a host contains its expected state."""

from io import StringIO
from pathlib import Path

# pyinfra is not in .venv: tools/baselines fetches it into bench/build.
from pyinfra import host  # type: ignore[import-not-found]  # only tools/baselines fetches it
from pyinfra.facts.server import Command  # type: ignore[import-not-found]  # as above
from pyinfra.operations import apt, files, server, systemd  # type: ignore[import-not-found]  # as above

expected, release = host.data.expected, host.data.release

apt.packages(name="Packages are installed", packages=expected["packages"])
for folder in host.loop(expected["folders"]):
    files.directory(name=f"{folder['path']} exists", **folder)

if release:
    archive = f"/opt/frota/{release['name']}.tar.gz"
    ready = f"/opt/frota/releases/{release['name']}/ready"
    files.put(name="Release is transferred", src=release["archive"], dest=archive)
    server.shell(name="Release is installed", commands=[f"test -e {ready} || sh -euc '{release['install']}'"])

changes = {}
for file in host.loop(expected["files"]):
    owner = {key: file[key] for key in ("mode", "user", "group")}
    if file["content"] is None:
        changes[file["path"]] = files.file(name=f"{file['path']} is private", path=file["path"], **owner)
    else:
        source = StringIO(file["content"])
        changes[file["path"]] = files.put(name=f"{file['path']} is written", src=source, dest=file["path"], **owner)
# Fails the run if a certificate expires within 30 days; pyinfra does not renew it.
if expected["certificates"]:
    checked = [f"openssl x509 -noout -checkend 2592000 -in {path}" for path in expected["certificates"]]
    host.get_fact(Command, " && ".join(checked))
for link in host.loop(expected["links"]):
    changes[link["path"]] = files.link(name=f"{link['path']} is a link", **link)

for unit, enabled in host.loop(expected["units"].items()):
    systemd.service(name=f"{unit} runs", service=unit, running=True, enabled=enabled or None)
    name = Path(unit).stem
    # The instances of a template unit share its file.
    paths = [f"/etc/frota/{name}.env", f"/etc/systemd/system/{unit}", "/opt/frota/current"]
    paths.append(f"/etc/systemd/system/{name.partition('@')[0]}@.service")
    operations = [changes[path].did_change for path in paths if path in changes]
    if unit.startswith("frota-") and unit.endswith(".service"):
        systemd.service(
            name=f"{unit} is restarted if it changed",
            service=unit,
            restarted=True,
            daemon_reload=True,
            _if=lambda operations=operations: any(changed() for changed in operations),
        )
