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
#       3.12.1-extensions/installed     and folders to put into PYTHONPATH
#
# The latter are for test_extensions.py: greenlet of each layout there was, numpy
# 1 and 2, and, for one release, what large data is kept in; CuPy, the last that
# fakecuda can be beneath, for test_cupy.py.
#
# usage: fetch_packages.sh [--refresh] [RELEASE...]
#
#   --refresh   ask for newer packages of an environment that is there already;
#               without it such a one is left alone, without network
#   RELEASE     3.11 3.12 3.13 unless told, and 3.8 to 3.13 for extensions
#
# Only wheels are taken, nothing is compiled, and the index is the one that pip
# is configured with. What cannot be had is listed with its reason, and is no
# failure: the tests use what is there and say what is not.

set -euo pipefail

packages=(numpy lxml pydantic guppy3 pympler objgraph tqdm)
declare -A extensions=(
	[3.8]="greenlet==1.1.3.post0 numpy"
	[3.10]="greenlet==2.0.2"
	[3.11]="numpy==1.26.4 cupy-cuda12x==12.3.0"
	[3.12]="greenlet gevent numpy pandas pyarrow"
	[3.13]="greenlet gevent"
)
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
for release in "${!extensions[@]}"; do
	if ((${#releases[@]})) && [[ " ${releases[*]} " != *" $release "* ]]; then
		unset "extensions[$release]"
	fi
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

# Put wheels into a folder. On failure, $reason says why.
fetch_extensions()
{
	local python=$1 folder=$2 new=$2.new wheel
	rm -rf "$new"
	mkdir "$new"
	for wheel in $3; do
		if ! "$python" -m pip --disable-pip-version-check --no-input \
			--timeout 20 --retries 1 install -q --only-binary :all: \
			--no-warn-script-location --target "$new" --upgrade \
			"$wheel" >"$cache/pip.log" 2>&1; then
			missing+=("${folder##*/}: $wheel: $(
				grep -i error "$cache/pip.log" | tail -n 1)")
		fi
	done
	"$python" -m pip --disable-pip-version-check freeze --path "$new" \
		>"$new/installed.new" 2>/dev/null || true
	if ! [[ -s $new/installed.new ]]; then
		reason="none of $3 can be installed"
		return 1
	fi
	rm -rf "$folder"
	mv "$new/installed.new" "$new/installed" && mv "$new" "$folder"
}

# The newest interpreter of a release that pyenv has.
newest()
{
	printf '%s\n' "$pyenv/$1".*/bin/python3 | sort -V | tail -n 1
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
for release in "${releases[@]}"; do
	python=$(newest "$release")
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

for release in "${!extensions[@]}"; do
	python=$(newest "$release")
	if ! [[ -x $python ]]; then
		missing+=("$release: pyenv has no such interpreter")
		continue
	fi
	version=$("$python" -c 'import platform; print(platform.python_version())')
	folder=$cache/$version-extensions
	if [[ -e $folder/installed && $refresh == no ]]; then
		echo "have ${folder##*/}"
	elif fetch_extensions "$python" "$folder" "${extensions[$release]}"; then
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
