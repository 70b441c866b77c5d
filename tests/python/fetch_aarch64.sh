#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetch what it takes to test with real aarch64 processes on a machine that is
# none, from Debian. Nothing is installed: packages are unpacked into a cache
# folder,
#
#   ${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/aarch64/
#       qemu/root/usr/bin/qemu-aarch64-static   runs them, on this machine
#       3.11.2-debian/root/usr/bin/python3.11   an interpreter, and its libraries
#       sysroot/root/                           what heapscan is built with
#
# each with a file `packages` beside root, which says what it was made from and
# is written last. An interpreter runs so, and qemu writes an ELF core of it
# when a signal ends it:
#
#   qemu-aarch64-static -L .../root .../root/usr/bin/python3.11
#
# usage: fetch_aarch64.sh [--refresh] [RELEASE...]
#
#   --refresh   ask for newer packages of what is there already; without it that
#               is left alone, without network
#   RELEASE     of Python: 3.11 3.13 3.14 3.15 unless told
#
# What cannot be had is listed with its reason, and is no failure: the tests use
# what is there and say what is not. The mirror is the one this machine's apt is
# configured with. Needs apt-get and dpkg-deb.
#
# The compiler is not fetched: it is the package gcc-aarch64-linux-gnu.

set -euo pipefail

# The release of Debian whose qemu, and libraries to build with, are taken.
stable=bookworm
newer="testing sid experimental"
libraries="libc6-dev libelf-dev libdw-dev libunwind-dev libzstd-dev
	libpcre2-dev libsqlite3-dev zlib1g-dev liblzma-dev liblz4-dev
	nettle-dev libiberty-dev"

refresh=no
releases=()
for argument; do
	case $argument in
	--refresh) refresh=yes ;;
	3.*) releases+=("$argument") ;;
	*)
		echo "usage: ${0##*/} [--refresh] [RELEASE...]" >&2
		exit 2 ;;
	esac
done
((${#releases[@]})) || releases=(3.11 3.13 3.14 3.15)

cache=${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/aarch64
missing=()
. "$(dirname "$0")/../lib/private_apt.sh"

# The folder of what was fetched completely, by its name or its beginning.
fetched()
{
	local stamp
	for stamp in "$cache/$1"/packages "$cache/$1".*-debian/packages; do
		if [[ -e $stamp ]]; then
			echo "${stamp%/*}"
			return
		fi
	done
}

# False where it was fetched before it had to hold all that it has to now.
has_libraries()
{
	local package
	for package in $libraries; do
		grep -q "^${package}_" "$1/packages" || return
	done
}

# Keep only this of a root that was just unpacked: the others are emulators of
# twenty machines more.
trim_qemu()
{
	find "$1" -type f ! -name qemu-aarch64-static -delete
}

# Can it start, and load what targets import?
works()
{
	"$cache/qemu/root/usr/bin/qemu-aarch64-static" -L "$1" \
		"$1/usr/bin/$2" -I -c '
import collections, ctypes, datetime, decimal, threading'
}

# Fetch packages into the folder $1. On failure, $reason says why.
fetch()
{
	local name=$1 new=$cache/new.$1 version
	shift
	apt_fetch "$@" || return
	rm -rf "$new"
	apt_unpack "$new/root" "$new/packages.new" || return
	case $name in
	qemu)
		trim_qemu "$new/root" ;;
	3.*)
		if ! works "$new/root" "python$name" 2>"$apt/works.log"; then
			reason="does not run here: $(tail -n 1 "$apt/works.log")"
			return 1
		fi
		version=$(sed -n "s/^python${name}_\([0-9.a-z]*\).*/\1/p" \
			"$new/packages.new")
		rm -rf "$cache/$name".*-debian
		name=$version-debian ;;
	esac
	rm -rf "${cache:?}/$name"
	mv "$new/packages.new" "$new/packages" &&
		mv "$new" "$cache/$name"
}

# Fetch $1, the packages $2..., and say so.
get()
{
	if fetch "$@"; then
		echo "fetched $(basename "$(fetched "$1")")"
	else
		missing+=("$1: $reason")
		rm -rf "$cache/new.$1"
	fi
}

wants()
{
	[[ " ${wanted[*]} " == *" $1 "* ]]
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
wanted=()
for name in qemu sysroot "${releases[@]}"; do
	folder=$(fetched "$name")
	if [[ -n $folder && $refresh == no ]] &&
	   { [[ $name != sysroot ]] || has_libraries "$folder"; }; then
		echo "have ${folder##*/}"
	else
		wanted+=("$name")
	fi
done
((${#wanted[@]})) || exit 0

if ! apt_usable; then
	echo "not to be had: ${wanted[*]}: $reason"
	exit 0
fi

# One apt for each pair of an architecture and suites, made when it is needed.
prepare()
{
	if [[ ! -e $cache/apt.$1/prepared ]]; then
		apt_prepare "$cache/apt.$1" "${@:2}"
		: >"$cache/apt.$1/prepared"
	fi
	apt_use "$cache/apt.$1"
}

rm -rf "$cache"/apt.*
if wants qemu; then
	prepare host "$(dpkg --print-architecture)" "$stable"
	get qemu qemu-user-static
fi
if wants sysroot; then
	prepare stable arm64 "$stable"
	get sysroot $libraries
fi
for name in "${releases[@]}"; do
	wants "$name" || continue
	prepare stable arm64 "$stable"
	if ! apt_has "python$name"; then
		prepare newer arm64 $newer
	fi
	if ! apt_has "python$name"; then
		missing+=("$name: no package python$name in $stable $newer")
		continue
	fi
	get "$name" "python$name"
done

if ((${#missing[@]})); then
	echo "not to be had:"
	printf '    %s\n' "${missing[@]}"
	echo "(what apt said is kept in $cache/apt.*)"
else
	rm -rf "$cache"/apt.*
fi
