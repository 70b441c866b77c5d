#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Build CPython interpreters that are packaged nowhere, for the tests to dump:
# free-threaded builds, and releases that were followed by another collector.
# The sources are those of Debian's archive. Nothing is installed but into a
# cache folder, beside what fetch_interpreters.sh puts there:
#
#   ${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/interpreters/
#       3.14.10t-built/built            what it was built from; written last
#       3.14.10t-built/bin/python3.14t
#
# usage: build_interpreters.sh [BUILD...]
#
#   BUILD   a release and its flags, t for free-threaded and d for debug:
#           3.14t, 3.14.4, 3.14.7td, 3.15.0~rc2t. Of a minor release it is the
#           newest whose sources the archive still has.
#           3.13t 3.14t 3.15t 3.14.4 unless told
#
# They have debug information, which test_layouts.py compares layouts with, and
# those modules that this machine has libraries for, but for Tk's. Each takes
# minutes, for which CI has no time: this is run by hand. What cannot be had is
# listed with its reason, and is no failure: the tests use what is there. The
# mirror is the one this machine's apt is configured with. Needs apt-get, a
# compiler and make.

set -euo pipefail

suites="testing sid experimental"
cache=${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/interpreters
apt=$cache/apt.sources
missing=()
# What is in the archive's pool though its index names newer ones.
old=(3.13.15 3.14.7 3.15.0~rc2)
. "$(dirname "$0")/../lib/private_apt.sh"

builds=("$@")
((${#builds[@]})) || builds=(3.13t 3.14t 3.15t 3.14.4)
for build in "${builds[@]}"; do
	if ! [[ $build =~ ^3\.[0-9]+(\.[0-9]+(~rc[0-9]+)?)?t?d?$ ]]; then
		echo "usage: ${0##*/} [BUILD...], such as 3.14t" >&2
		exit 2
	fi
done

# Split 3.14.4td into $minor 3.14, $version 3.14.4 or nothing, and $flags td.
take_apart()
{
	[[ $1 =~ ^(3\.[0-9]+)(\.[0-9]+(~rc[0-9]+)?)?(t?d?)$ ]]
	minor=${BASH_REMATCH[1]}
	version=${BASH_REMATCH[2]:+$minor${BASH_REMATCH[2]}}
	flags=${BASH_REMATCH[4]}
}

# The folder of a build that is there, or nothing.
built()
{
	take_apart "$1"
	compgen -G "$cache/${version:-$minor.*[0-9]}$flags-built/built" |
		tail -n 1 | sed 's,/built$,,' || true
}

# The releases that may be meant, newest first.
candidates()
{
	if [[ -n $version ]]; then
		echo "$version"
		return
	fi
	apt-cache show --no-all-versions "python$minor" 2>/dev/null |
		sed -n 's/^Version: \([0-9.~rc]*\).*/\1/p'
	printf '%s\n' "${old[@]}" | grep -F "$minor."
}

# Unpack the sources of $version, or the newest of $minor, into $1. On failure,
# $reason says why.
unpack_sources()
{
	local tarball=$1.tar.xz pool=${apt_uri%/}/pool/main/p/python$minor
	for version in $(candidates); do
		if /usr/lib/apt/apt-helper download-file \
			"$pool/python${minor}_$version.orig.tar.xz" \
			"$tarball" >"$1.log" 2>&1; then
			rm -rf "$1"
			mkdir -p "$1"
			tar -C "$1" --strip-components=1 -xJf "$tarball"
			rm -f "$tarball" "$1.log"
			return
		fi
	done
	apt_said "$1.log"
	rm -f "$1.log"
	return 1
}

# Configure, build and install the sources in $1 as folder $2.
compile()
{
	local options=(--prefix="$2" --without-ensurepip
		--disable-test-modules py_cv_module__tkinter=n/a)
	[[ $flags != *t* ]] || options+=(--disable-gil)
	[[ $flags != *d* ]] || options+=(--with-pydebug)
	# Bytecode is compiled when it is needed: by far not all of it is.
	(cd "$1" && ./configure -q "${options[@]}" \
			OPT="-g -O1 $([[ $flags == *d* ]] || echo -DNDEBUG)" &&
		make -s -j"$(nproc)" &&
		make -s altinstall COMPILEALL_OPTS='-q -x .') >"$1.log" 2>&1
}

# Build one. On failure, $reason says why.
build()
{
	local new=$cache/new.$1 prefix
	take_apart "$1"
	unpack_sources "$new" || return
	prefix=$cache/$version$flags-built
	rm -rf "$prefix"
	if ! compile "$new" "$prefix"; then
		reason="does not build here: $(tail -n 1 "$new.log")"
		rm -rf "$new" "$prefix"
		return 1
	fi
	rm -rf "$new" "$new.log"
	echo "python${minor}_$version.orig.tar.xz" >"$prefix/built"
	echo "built ${prefix##*/}"
}

mkdir -p "$cache"
exec 8>"$cache/lock.built"
flock 8
wanted=()
for build in "${builds[@]}"; do
	folder=$(built "$build")
	if [[ -n $folder ]]; then
		echo "have ${folder##*/}"
	else
		wanted+=("$build")
	fi
done
((${#wanted[@]})) || exit 0

if ! apt_usable; then
	echo "not to be had: ${wanted[*]}: $reason"
	exit 0
fi

apt_prepare "$apt" "$(dpkg --print-architecture)" $suites
for build in "${wanted[@]}"; do
	build "$build" || missing+=("$build: $reason")
done
apt_done
if ((${#missing[@]})); then
	echo "not to be had:"
	printf '    %s\n' "${missing[@]}"
fi
