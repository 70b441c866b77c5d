#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Put packages with large parts in C, and tools that count objects from inside,
# into virtual environments of pyenv's interpreters, for the tests to dump and
# the benchmark to compare with:
#
#   ${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/packages/
#       3.12.1-packages/installed       what it holds; written last
#       3.12.1-packages/bin/python3
#
# usage: fetch_packages.sh [--refresh] [RELEASE...]
#
#   --refresh   ask for newer packages of an environment that is there already;
#               without it such a one is left alone, without network
#   RELEASE     3.11 3.12 3.13 unless told
#
# Only wheels are taken, nothing is compiled, and the index is the one that pip
# is configured with. What cannot be had is listed with its reason, and is no
# failure: the tests use what is there and say what is not.

set -euo pipefail

packages=(numpy lxml pydantic guppy3 pympler objgraph)
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
((${#releases[@]})) || releases=(3.11 3.12 3.13)

cache=${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/packages
pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
missing=()

# pip, without what it would say of itself.
pip()
{
	"$1/bin/python3" -m pip --disable-pip-version-check --no-input \
		--timeout 20 --retries 1 "${@:2}"
}

# Make one environment. On failure, $reason says why.
fetch()
{
	local python=$1 folder=$2 new=$2.new package
	rm -rf "$new"
	if ! "$python" -m venv "$new" 2>"$cache/venv.log"; then
		reason="no virtual environment: $(tail -n 1 "$cache/venv.log")"
		return 1
	fi
	for package in "${packages[@]}"; do
		if ! pip "$new" install -q --only-binary :all: "$package" \
			>"$cache/pip.log" 2>&1; then
			missing+=("${folder##*/}: $package: $(
				grep -i error "$cache/pip.log" | tail -n 1)")
		fi
	done
	if ! pip "$new" freeze >"$new/installed.new" ||
	   ! [[ -s $new/installed.new ]]; then
		reason="none of ${packages[*]} can be installed"
		return 1
	fi
	rm -rf "$folder"
	# Programs in bin/ name the folder they were made in; python does not.
	mv "$new/installed.new" "$new/installed" && mv "$new" "$folder"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
for release in "${releases[@]}"; do
	python=$(printf '%s\n' "$pyenv/$release".*/bin/python3 | sort -V |
		tail -n 1)
	if ! [[ -x $python ]]; then
		missing+=("$release: pyenv has no such interpreter")
		continue
	fi
	version=$("$python" -c 'import platform; print(platform.python_version())')
	folder=$cache/$version-packages
	if [[ -e $folder/installed && $refresh == no ]]; then
		echo "have ${folder##*/}"
	elif fetch "$python" "$folder"; then
		echo "fetched ${folder##*/}: $(paste -sd ' ' "$folder/installed")"
	else
		missing+=("$release: $reason")
		rm -rf "$folder.new"
	fi
done

if ((${#missing[@]})); then
	echo "not to be had:"
	printf '    %s\n' "${missing[@]}"
fi
