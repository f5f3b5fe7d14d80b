#!/bin/sh
# Shows that a build needs no network once modules and packages were fetched: fetches them, clones the tree, and builds everything in the
# clone in a network namespace with nothing in it, not even loopback. As root. Arguments are those of make there; "image" by default.
#
# What is committed is built. The caches of the go command are shared; with GOCACHE=$(mktemp -d) everything is compiled anew.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
	echo "offline.sh: only root can make a network namespace" >&2
	exit 1
fi
go=${GO:-go}
echo "fetching modules and packages"
# The programs that build, and what they build of this tree, are compiled once, so that their modules are there.
$go build -o /dev/null ./cmd/components
$go build -o /dev/null ./cmd/imager
$go build -o /dev/null ./cmd/machined
$go run ./cmd/components fetch
$go run ./cmd/imager fetch
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
git clone --quiet --local . "$dir/tree"
mkdir -p "$dir/tree/_out/cache"
cp -r _out/cache/debs "$dir/tree/_out/cache/debs"
echo "building without a network"
began=$(date +%s)
[ $# -gt 0 ] || set -- image
# The first command fails if there is a network: the trial can then show nothing.
unshare --net sh -c '! ip route get 1.1.1.1 >/dev/null 2>&1 || { echo "offline.sh: the network is not cut" >&2; exit 1; }
	GOPROXY=off GOFLAGS=-mod=readonly exec "$@"' sh make -C "$dir/tree" "$@"
echo "built without a network in $(($(date +%s) - began)) s"
