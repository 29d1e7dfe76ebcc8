#!/usr/bin/env bash
# Makes a base image from Debian's packages, where no registry of images can be reached. Needs root and debootstrap.
#
# usage: docker/make-base.sh [NAME]      (default: tfsd-base:bookworm)
set -euo pipefail

name=${1:-tfsd-base:bookworm}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
# as in Debian's own slim images: what nobody reads in a container
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
    "$root"/usr/share/{doc,info,locale,man}/* "$root"/var/log/*.log
cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'SLIM'
path-exclude /usr/share/doc/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
SLIM
tar --directory "$root" --create . | docker import --change 'CMD ["bash"]' - "$name" >/dev/null
echo "made $name"
