#!/bin/sh
# bare_host.sh TREE: prepare a fresh Debian tree like an AMI and cloud-init on EC2: the user admin, who may read the
# journal and logs in with the key pair of the stack, and host keys and a machine id that the first boot generates.
set -eu
umask 022 # as in Debian's installation
root=$1

chroot "$root" useradd --create-home --shell /bin/bash --groups adm admin
echo 'admin ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/admin"
chmod 0440 "$root/etc/sudoers.d/admin"
# The command runs as root, because on this machine only the owner may be able to read the file.
cat >"$root/etc/ssh/sshd_config.d/fleet.conf" <<'CONF'
AuthorizedKeysFile none
AuthorizedKeysCommand /usr/bin/cat /etc/ssh/fleet_key.pub
AuthorizedKeysCommandUser root
CONF

rm "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
mkdir "$root/etc/systemd/system/ssh.service.d"
cat >"$root/etc/systemd/system/ssh.service.d/host-keys.conf" <<'UNIT'
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
UNIT

# Podman starts a host with private mounts, but systemd passes credentials to services as a mount.
cat >"$root/etc/systemd/system/shared-mounts.service" <<'UNIT'
[Unit]
Description=Make mounts shared, as on a physical machine
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=mount --make-rshared /

[Install]
WantedBy=sysinit.target
UNIT
chroot "$root" systemctl enable --quiet shared-mounts.service

touch "$root/etc/default/locale" # otherwise every login logs an error

# Hosts share the kernel and the terminals of this machine: they must not load modules, set parameters or offer logins.
chroot "$root" systemctl mask --quiet systemd-modules-load.service systemd-sysctl.service getty.target

# Generators for devices and boots that a container does not have: every reload of systemd would start them again.
mkdir "$root/etc/systemd/system-generators"
for name in debug getty gpt-auto hibernate-resume run ssh system-update tpm2; do
  ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$name-generator"
done
