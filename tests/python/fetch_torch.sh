#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Put PyTorch into the tests' cache for heaptest.with_torch(): wheels for CUDA, as
# they are,
#
#   ${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/torch/
#       2.15.0/installed    what it holds; written last
#       2.15.0/python       the interpreter that it is for
#       2.15.0/site/        to be put into PYTHONPATH
#
# and what Debian builds for the CPU, with its own Python, unpacked:
#
#       debian-bookworm/installed, python
#       debian-bookworm/root/       to be entered, as a container's
#
# NVIDIA's libraries, which would be 2 to 5 GB more, are not fetched: what the
# wheel needs of them tests/torch/fakecuda replaces.
#
# usage: fetch_torch.sh [VERSION...]
#        fetch_torch.sh --remove VERSION...
#
#   VERSION     1.13.1, 2.15.0 and debian-bookworm unless told: the oldest and the
#               newest release, and a build of Debian's (1.13.1; debian-trixie has
#               2.6.0). A wheel is 0.5 to 0.9 GB to fetch and 1.2 to 2.1 GB on
#               disk, Debian's 0.1 and 1 GB. What is there already is left
#               alone, without network.
#
# The index is the one that pip is configured with, the archive that of apt. What
# cannot be had is listed with its reason, and is no failure.

set -euo pipefail

# What "import torch" asks for, and numpy.
modules=(typing_extensions filelock sympy mpmath networkx jinja2 markupsafe
	fsspec setuptools)
remove=no
versions=()
for argument; do
	case $argument in
	--remove) remove=yes ;;
	[0-9]*.[0-9]* | debian-[a-z]*) versions+=("$argument") ;;
	*)
		echo "usage: ${0##*/} [--remove] [VERSION...]" >&2
		exit 2 ;;
	esac
done

cache=${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/torch
pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
missing=()
. "$(dirname "$0")/../lib/private_apt.sh"

if [[ $remove == yes ]]; then
	for version in "${versions[@]}"; do
		rm -rf "${cache:?}/$version" "$cache/$version-fakecuda"*
	done
	exit
fi
((${#versions[@]})) || versions=(1.13.1 2.15.0 debian-bookworm)

# The newest release of Python of pyenv's that each release is built for, but for
# 3.13: few tests have another interpreter of it.
python_for()
{
	local release=3.12
	case $1 in
	1.*) release=3.10 ;;
	2.[01].*) release=3.11 ;;
	2.[58].*) release=3.13 ;;
	esac
	printf '%s\n' "$pyenv/$release".*/bin/python3 | sort -V | tail -n 1
}

# Put packages into a folder, without those that they ask for.
install()
{
	TMPDIR=$cache "$1" -m pip --disable-pip-version-check --no-input \
		--no-cache-dir --timeout 60 --retries 2 install -q --no-deps \
		--no-compile --no-warn-script-location --only-binary :all: \
		--target "${@:2}" >"$cache/pip.log" 2>&1 && return
	reason=$(grep -i error "$cache/pip.log" | tail -n 1)
	return 1
}

fetch()
{
	local version=$1 folder=$cache/$1 new=$cache/$1.new python numpy=numpy
	case $version in 1.* | 2.[012].*) numpy='numpy<2' ;; esac
	python=$(python_for "$version")
	if ! [[ -x $python ]]; then
		reason="pyenv has no ${python#"$pyenv/"}"
		return 1
	fi
	rm -rf "$new"
	mkdir "$new"
	echo "$python" >"$new/python"
	install "$python" "$new/site" "torch==$version" || return 1
	install "$python" "$new/site" "${modules[@]}" "$numpy" || return 1
	"$python" -m pip --disable-pip-version-check freeze \
		--path "$new/site" >"$cache/installed"
	rm -rf "$folder"
	mv "$new" "$folder"
	mv "$cache/installed" "$folder/installed"
}

fetch_debian()
{
	local version=$1 new=$cache/$1.new torch library
	apt_usable || return
	apt_prepare "$cache/apt" "$(dpkg --print-architecture)" \
		"${version#debian-}"
	apt_fetch python3-torch python3-numpy || return
	rm -rf "$new"
	apt_unpack "$new/root" "$new/installed.new" || return
	apt_done
	mkdir "$new"/root/{dev,proc}	# which it asks for entropy and processors
	# As alternatives, which only an installation sets up.
	for library in "$new"/root/usr/lib/*/{blas,lapack}/lib*.so.3; do
		ln -sr "$library" "${library%/*/*}/"
	done
	torch=$(sed -n 's/^python3-torch_\([0-9.]*\).*/\1/p' "$new/installed.new")
	echo /usr/bin/python3 >"$new/python"
	{
		echo "torch==$torch"
		cat "$new/installed.new"
	} >"$new/installed"
	rm -rf "${cache:?}/$version" "$new/installed.new"
	mv "$new" "$cache/$version"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
for version in "${versions[@]}"; do
	if [[ -e $cache/$version/installed ]]; then
		echo "have torch $version"
	elif case $version in
	     debian-*) fetch_debian "$version" ;;
	     *) fetch "$version" ;;
	     esac; then
		echo "fetched torch $version: $(
			grep == "$cache/$version/installed" | paste -sd ' ')"
	else
		missing+=("torch $version: $reason")
		rm -rf "$cache/$version.new" "$cache/apt"
	fi
done

if ((${#missing[@]})); then
	echo "not to be had:"
	printf '    %s\n' "${missing[@]}"
fi
