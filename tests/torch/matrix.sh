#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The tests of PyTorch on every minor release, one after another: each wheel is
# fetched, tested, and removed again unless it was there.
#
# usage: tests/torch/matrix.sh [VERSION...]
#
# Ends with a line for each version: how many passed, failed and were skipped, of
# which program. HEAPSCAN_BUILD, build/plain unless told, is what is tested.
# TESTS, "torch/" unless told, is what tests/run -k selects. Tests run all they
# have, also what CI leaves out.

set -euo pipefail
cd "$(dirname "$0")/../.."

versions=("$@")
((${#versions[@]})) || versions=(1.13.1 2.0.1 2.1.2 2.2.2 2.3.1 2.4.1 2.5.1 2.6.0
	2.7.1 2.8.0 2.9.1 2.10.0 2.11.0 2.12.1 2.13.0 2.14.1 2.15.0)
cache=${HEAPSCAN_CACHE:-$HOME/.cache/heapscan-tests}/torch
summary=()
failed=0
for version in "${versions[@]}"; do
	there=no
	[[ -e $cache/$version/installed ]] && there=yes
	tests/python/fetch_torch.sh "$version"
	if ! [[ -e $cache/$version/installed ]]; then
		summary+=("$version: not to be had")
		continue
	fi
	said=$(HEAPSCAN_TORCH=all HEAPSCAN_INTERPRETERS="-torch-${version//./\\.}\$" tests/run \
		--build "${HEAPSCAN_BUILD:-build/plain}" --jobs 1 \
		-k "${TESTS:-torch/}" 2>&1) || failed=1
	printf '%s\n' "$said"
	summary+=("$version: $(tail -n 1 <<<"$said"); $(grep -oE \
		'^torch/[a-z_]+\.py +[^(]*' <<<"$said" | tr -s ' ' |
		paste -sd ';' | sed 's/ *;/;/g')")
	[[ $there == yes ]] || tests/python/fetch_torch.sh --remove "$version"
done
printf '%s\n' "${summary[@]}"
exit $failed
