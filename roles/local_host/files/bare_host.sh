#!/bin/sh
# Does to a fresh Debian tree ($1) what an AMI and cloud-init do on EC2: the admin user, who may read the journal and is
# let in by the stack's key pair; host keys and a machine id of its own at the first boot.
set -eu
umask 022 # what Debian's own installation leaves
root=$1

chroot "$root" useradd --create-home --shell /bin/bash --groups adm admin
echo 'admin ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/admin"
chmod 0440 "$root/etc/sudoers.d/admin"
# Read by root: on the machine the file may be its owner's alone.
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

# The engine begins a host with mounts that nobody else in it sees; systemd hands over credentials as a mount.
cat >"$root/etc/systemd/system/shared-mounts.service" <<'UNIT'
[Unit]
Description=Mounts are shared, as on a machine
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=mount --make-rshared /

[Install]
WantedBy=sysinit.target
UNIT
chroot "$root" systemctl enable --quiet shared-mounts.service

touch "$root/etc/default/locale" # or every login is an error in the journal

# The kernel and the terminals are the machine's: a host loads no modules, sets no parameters, asks for no login there.
chroot "$root" systemctl mask --quiet systemd-modules-load.service systemd-sysctl.service getty.target
