#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Unpack packages of one of Debian's suites into a folder of the cache, to build
# against or to run in; nothing is installed. Prints the folder.
#
# usage: fetch_root.sh NAME SUITE PACKAGE...
#
#   ${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/roots/NAME/packages   what it
#                                   was made from; written last
#   .../roots/NAME/root
#
# A root that is there is left alone, without network. What cannot be had is said
# on standard error, with exit status 1. Needs apt-get and dpkg-deb.

set -euo pipefail

name=$1 suite=$2
shift 2
cache=${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/roots
. "$(dirname "$0")/../../tests/lib/private_apt.sh"

give_up()
{
	echo "$name: not to be had: $reason" >&2
	rm -rf "$cache/new.$name"
	exit 1
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [[ -e $cache/$name/packages && $(cat "$cache/$name/wanted") == "$suite $*" ]]
then
	echo "$cache/$name/root"
	exit 0
fi

apt_usable || give_up
new=$cache/new.$name
rm -rf "$new"
apt_prepare "$cache/apt.$name" "$(dpkg --print-architecture)" "$suite" >&2
apt_fetch "$@" || give_up
apt_unpack "$new/root" "$new/packages.new" || give_up
apt_done
# A compiler that is told of this root would look for them in its own.
find "$new/root" -type l -lname '/*' | while read -r link; do
	ln -sfrn "$new/root$(readlink "$link")" "$link"
done
echo "$suite $*" >"$new/wanted"
rm -rf "${cache:?}/$name"
mv "$new/packages.new" "$new/packages"
mv "$new" "$cache/$name"
echo "$cache/$name/root"
