#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetch CPython releases newer than this machine's from Debian's newer suites,
# for the tests to dump. Nothing is installed: the packages and the shared
# libraries they need are unpacked into a cache folder,
#
#   ${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/interpreters/
#       3.14.10-debian/packages         what it was made from; written last
#       3.14.10-debian/root/usr/bin/python3.14
#
# and run from there in one of two ways (tests/lib/heaptest.py does both):
#
#   chroot .../root /usr/bin/python3.14              (root; like a container)
#   .../root/lib64/ld-linux-x86-64.so.2 --library-path \
#       .../root/usr/lib/x86_64-linux-gnu .../root/usr/bin/python3.14   (anyone)
#
# usage: fetch_interpreters.sh [--refresh] [--debug] [RELEASE...]
#
#   --refresh   ask for newer packages of a release that is there already;
#               without it such a release is left alone, without network
#   --debug     also the Py_DEBUG build (root/usr/bin/python3.14d), and the
#               DWARF of both builds under root/usr/lib/debug/.build-id: good
#               for verifying layouts (about 300 MB a release, unpacked)
#   RELEASE     3.13 3.14 3.15 unless told
#
# What cannot be had is listed with its reason, and is no failure: the tests use
# what is there and say what is not. The mirror is the one this machine's apt is
# configured with. Needs apt-get and dpkg-deb.
#
# Of no use here: python3.N-nopie is the same program again on amd64 (the
# ordinary one is linked without PIE, too), python3.N-dbgsym is not in the
# archive (python3.N-dbg holds what it would), and free-threaded builds are not
# packaged in any suite.

set -euo pipefail

suites="testing sid experimental"
refresh=no
debug=no
releases=()
for argument; do
	case $argument in
	--refresh) refresh=yes ;;
	--debug) debug=yes ;;
	3.*) releases+=("$argument") ;;
	*)
		echo "usage: ${0##*/} [--refresh] [--debug] [RELEASE...]" >&2
		exit 2 ;;
	esac
done
((${#releases[@]})) || releases=(3.13 3.14 3.15)

cache=${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/interpreters
apt=$cache/apt
missing=()
. "$(dirname "$0")/../lib/private_apt.sh"

# The folder of a release that was fetched completely, or nothing.
fetched()
{
	local stamp folder
	for stamp in "$cache/$1".*-debian/packages; do
		folder=${stamp%/*}
		if [[ -e $stamp && -e $folder/root/usr/include/python$1 ]] &&
		   [[ $debug == no || -e $folder/root/usr/bin/python${1}d ]]; then
			echo "$folder"
			return
		fi
	done
}

# Can the interpreter start by its own loader, and load what targets import?
works()
{
	local root=$1 python=$2 loader libs
	loader=$(echo "$root"/lib*/ld-linux-*.so.*)
	libs=$(echo "$root"/usr/lib/*-linux-gnu)
	"$loader" --library-path "$libs" "$root/usr/bin/$python" -I -c '
import collections, ctypes, datetime, decimal, threading'
}

# Fetch one release. On failure, $reason says why.
fetch()
{
	local release=$1 new=$cache/new.$1 version
	if ! apt_has "python$release"; then
		reason="no package python$release in $suites"
		return 1
	fi

	apt_fetch "python$release" || return
	# Headers, to verify layouts with; not what they depend on.
	apt_fetch_alone "libpython$release-dev" || return
	# The debug packages are taken without what they depend on, which is
	# Tk and X11.
	if [[ $debug == yes ]]; then
		apt_fetch_alone "python$release-dbg" "libpython$release-dbg" ||
			return
	fi

	rm -rf "$new"
	apt_unpack "$new/root" "$new/packages.new" || return
	if ! works "$new/root" "python$release" 2>"$apt/works.log"; then
		reason="does not run here: $(tail -n 1 "$apt/works.log")"
		return 1
	fi

	version=$(sed -n "s/^python${release}_\([0-9.a-z]*\).*/\1/p" \
		"$new/packages.new")
	rm -rf "$cache/$release".*-debian
	mv "$new/packages.new" "$new/packages" &&
		mv "$new" "$cache/$version-debian"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
wanted=()
for release in "${releases[@]}"; do
	folder=$(fetched "$release")
	if [[ -n $folder && $refresh == no ]]; then
		echo "have ${folder##*/}"
	else
		wanted+=("$release")
	fi
done
((${#wanted[@]})) || exit 0

if ! apt_usable; then
	echo "not to be had: ${wanted[*]}: $reason"
	exit 0
fi

apt_prepare "$apt" "$(dpkg --print-architecture)" $suites
for release in "${wanted[@]}"; do
	if fetch "$release"; then
		echo "fetched $(basename "$(fetched "$release")")"
	else
		missing+=("$release: $reason")
		rm -rf "$cache/new.$release"
	fi
done

if ((${#missing[@]})); then
	echo "not to be had:"
	printf '    %s\n' "${missing[@]}"
	echo "(what apt said is kept in $apt)"
else
	apt_done
fi
