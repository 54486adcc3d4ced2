#!/usr/bin/env bash
# A base image (Debian, Python 3.11) from Debian's packages, for machines that reach a Debian mirror but no registry
# of images. Takes the place of python:3.11-slim under the same name, so that the Dockerfile's default finds it.
# Needs root, docker and mmdebstrap (apt-get install docker.io mmdebstrap). Usage: base_image.sh [IMAGE] [SUITE]
set -euo pipefail
image=${1:-python:3.11-slim}
suite=${2:-bookworm}

for tool in docker mmdebstrap; do
    command -v "$tool" >/dev/null || { echo "error: $tool is missing: apt-get install docker.io mmdebstrap" >&2; exit 1; }
done
[[ $(id -u) -eq 0 ]] || { echo "error: only root can make a base image" >&2; exit 1; }
docker info >/dev/null 2>&1 || { echo "error: no container engine; start one, such as dockerd" >&2; exit 1; }
sources=/etc/apt/sources.list.d/debian.sources
mirror=${MIRROR:-$(awk '/^URIs:/ { print $2; exit }' "$sources" 2>/dev/null || true)}
mirror=${mirror:-$(awk '$1 == "deb" && match($0, /https?:[^ ]+/) { print substr($0, RSTART, RLENGTH); exit }' /etc/apt/sources.list 2>/dev/null || true)}
[[ -n $mirror ]] || { echo "error: no Debian mirror in /etc/apt; say which with MIRROR=" >&2; exit 1; }

# Unpacking writes many small files twice; memory takes them faster than a disk.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1700000000}
[[ -w /dev/shm ]] && export TMPDIR=/dev/shm
# Snapshots of Debian outlive their own dates, so only the signature of the package lists is checked.
mmdebstrap --quiet --variant=apt --mode=root \
    --include=python3,python3-pip,python3-venv,ca-certificates \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='ln -s python3 "$1/usr/bin/python"' \
    --customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/machine-id "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*.log "$1"/var/log/apt "$1"/usr/share/i18n "$1"/usr/lib/*/gconv' \
    "$suite" - "$mirror" |
    docker import --change 'CMD ["python3"]' --change 'ENV LANG=C.UTF-8' - "$image" >/dev/null
docker image inspect --format "$image: {{.Id}}, {{.Size}} bytes" "$image"
