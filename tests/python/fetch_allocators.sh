#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetch allocators that take malloc's place from several suites of Debian, for
# the tests to preload. Nothing is installed: packages and the libraries they
# need are unpacked into a cache folder,
#
#   ${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/allocators/
#       trixie/packages         what it was made from; written last
#       trixie/root/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 …
#
# usage: fetch_allocators.sh [--refresh] [SUITE...]
#
#   --refresh   ask for newer packages of a suite that is there already; without
#               it such a suite is left alone, without network
#   SUITE       bullseye bookworm trixie sid unless told
#
# What cannot be had is listed with its reason, and is no failure: the tests use
# what is there and say what is not. The mirror is the one this machine's apt is
# configured with. Needs apt-get and dpkg-deb.

set -euo pipefail

# The names have changed with time; of each group the first that there is.
groups=("libjemalloc2" "libtcmalloc-minimal4t64 libtcmalloc-minimal4"
	"libmimalloc3 libmimalloc2.0")
refresh=no
suites=()
for argument; do
	case $argument in
	--refresh) refresh=yes ;;
	-*)
		echo "usage: ${0##*/} [--refresh] [SUITE...]" >&2
		exit 2 ;;
	*) suites+=("$argument") ;;
	esac
done
((${#suites[@]})) || suites=(bullseye bookworm trixie sid)

cache=${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/allocators
. "$(dirname "$0")/../lib/private_apt.sh"

# Fetch the allocators of one suite. On failure, $reason says why.
fetch()
{
	local suite=$1 new=$cache/new.$1 group package packages=()
	for group in "${groups[@]}"; do
		for package in $group; do
			if apt_has "$package"; then
				packages+=("$package")
				break
			fi
		done
	done
	if ! ((${#packages[@]})); then
		reason="none of ${groups[*]}"
		return 1
	fi
	apt_fetch "${packages[@]}" || return
	rm -rf "$new"
	apt_unpack "$new/root" "$new/packages.new" || return
	rm -rf "${cache:?}/$suite"
	mv "$new/packages.new" "$new/packages" && mv "$new" "$cache/$suite"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
wanted=()
for suite in "${suites[@]}"; do
	if [[ -e $cache/$suite/packages && $refresh == no ]]; then
		echo "have $suite"
	else
		wanted+=("$suite")
	fi
done
((${#wanted[@]})) || exit 0

if ! apt_usable; then
	echo "not to be had: ${wanted[*]}: $reason"
	exit 0
fi

# Most of it is waiting for lists: all suites at once, each with its own apt.
get()
{
	apt_prepare "$cache/apt.$1" "$(dpkg --print-architecture)" "$1"
	if fetch "$1"; then
		echo "fetched $1: $(grep -E '^lib(je|tc|mi)m?alloc' \
			"$cache/$1/packages" | paste -sd ' ')"
	else
		echo "not to be had: $1: $reason"
		rm -rf "$cache/new.$1"
	fi
	apt_done
}

for suite in "${wanted[@]}"; do
	get "$suite" &
done
wait
