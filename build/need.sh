#!/bin/sh
# Makes sure that Debian packages are there: need.sh PACKAGE...
# As root it installs what is missing. Otherwise it prints the one line to run and fails.
set -eu
missing=""
for p in "$@"; do
	dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
line="apt-get update && apt-get install --yes --no-install-recommends$missing"
if ! command -v apt-get >/dev/null; then
	echo "need.sh: this is no Debian; install by other means:$missing" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "need.sh: missing:$missing. Run this as root, then try again:" >&2
	echo "    $line" >&2
	exit 1
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! sh -c "$line" >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "need.sh: apt-get did not install$missing; the lines above say why" >&2
	exit 1
fi
