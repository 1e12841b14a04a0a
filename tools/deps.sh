#!/bin/sh
# Installs what `make test` (argument: test) or `make bench` (bench) needs beyond
# Go, gcc, Node.js with npm, and git. Does nothing when all of it is there.
set -eu
want=${1:-test}

fail() {
	echo "deps: $*" >&2
	exit 1
}

need() { command -v "$1" >/dev/null 2>&1 || fail "$1 is missing: $2"; }
need go "install Go 1.26 or newer from https://go.dev/dl/"
need gcc "install it with: apt-get install gcc libc6-dev (the race detector needs it)"
need git "install it with: apt-get install git"
need node "install Node.js 20 or newer (the device SDK of the conformance tests runs on it)"
need npm "install npm, which comes with Node.js"
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 18 ] || fail "Node.js $(node --version) is too old: 18 or newer is needed"

packages=
have_postgres() {
	command -v postgres >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1
}
have_postgres || packages="$packages postgresql"
if [ "$want" = bench ]; then
	PATH=$PATH:/usr/sbin command -v mosquitto >/dev/null 2>&1 || packages="$packages mosquitto"
fi
[ -n "$packages" ] || exit 0

command -v apt-get >/dev/null 2>&1 ||
	fail "these are missing and apt-get is not there to install them:$packages"
if [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo >/dev/null 2>&1; then
	sudo=sudo
else
	fail "these Debian packages are missing; run as root: apt-get install$packages"
fi
echo "deps: installing$packages"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # words on purpose
$sudo apt-get update -q && $sudo apt-get install -q -y --no-install-recommends $packages ||
	fail "apt-get could not install$packages: see its message above, then run make again"
