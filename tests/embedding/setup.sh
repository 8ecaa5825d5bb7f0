#!/usr/bin/env bash
# What `make test-embed` needs, into the folder DEST: Node's packages, and ONNX Runtime's C and C++ headers. Compilers,
# CMake and Chromium come from Debian, where they are missing. Usage: setup.sh DEST
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dest=$1
mkdir -p "$dest"

missing=()
for package in gcc g++ cmake chromium; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
command -v cargo >/dev/null || missing+=(cargo)
command -v npm >/dev/null || missing+=(nodejs npm)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "Expected ${missing[*]}; not installed. Run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  apt-get -q update >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

cp "$here/package.json" "$dest/package.json"
(cd "$dest" && npm install --ignore-scripts --no-audit --no-fund --silent)

# The headers are trixie's, unpacked and not installed: its libraries would not run on an older Debian.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial"
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -v security | sort -u | head -n 1)
[ -n "$mirror" ] || { echo "Expected a Debian mirror in apt's sources; none is there. Run apt-get update first." >&2; exit 1; }
cat >"$work/trixie.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
private=(
  -q -o "Dir::Etc::sourcelist=$work/trixie.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
  -o "Dir::Cache=$work" -o "Dir::Cache::archives=$work/archives" -o Acquire::Languages=none -o "APT::Sandbox::User=$(id -un)"
)
apt-get "${private[@]}" update >/dev/null
(cd "$work" && apt-get "${private[@]}" download libonnxruntime-dev >/dev/null)
dpkg -x "$work"/libonnxruntime-dev_*.deb "$dest/headers"
test -f "$dest/headers/usr/include/onnxruntime/onnxruntime_cxx_api.h"
