#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Make the tarball that runs anywhere: both programs with their libraries beside
# them, built against an older suite of Debian, and a heapdump that needs none (and
# so is built as this machine builds it).
#
# usage: make_bundle.sh VERSION FILE.tar.xz STATIC-HEAPDUMP
#
#   heapscan-VERSION-x86_64/bin/{heapdump,heapscan}   glibc 2.31 or newer
#                          /bin/heapdump-static       no library at all
#                          /lib/                      all but glibc's own
#                          /lib/heapscan/             what --on-oom preloads
#                          /share/                    manual pages, completions,
#                                                     the libraries' licences
#
# Nothing is installed and no root is needed: this machine's compiler is told of
# the older suite's headers and libraries.

set -euo pipefail

version=$1 file=$2 static=$3
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
suite=bullseye
build=build/bundle
name=heapscan-$version-$(uname -m)
triplet=$(gcc -print-multiarch)

root=$(dumper/packaging/fetch_root.sh $suite-dev $suite libc6-dev linux-libc-dev \
	libelf-dev libdw-dev libunwind-dev libzstd-dev libpcre2-dev \
	libsqlite3-dev zlib1g-dev liblzma-dev liblz4-dev nettle-dev libiberty-dev)

# Before the folders that the compiler knows by itself, whose glibc is newer.
search="-L$root/usr/lib/$triplet -L$root/lib/$triplet"

# The compiler's own libraries are newer than the suite: they must not be asked
# for. DT_RPATH, unlike DT_RUNPATH, also holds for what a library needs itself.
make -s -j"$(nproc)" B=$build CC="gcc --sysroot=$root -D_GNU_SOURCE -include dumper/packaging/older_glibc.h" \
	LDFLAGS='-static-libgcc -Wl,--as-needed -Wl,--disable-new-dtags -Wl,-rpath,\$$ORIGIN/../lib '"$search" \
	PKG_CONFIG="env PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$root/usr/lib/$triplet/pkgconfig:$root/usr/share/pkgconfig pkg-config" \
	programs

needed_of()
{
	readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
}

# What is glibc's is the machine's: its loader knows only the one of its age.
is_of_glibc()
{
	[[ $1 =~ ^(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|nsl))\.so ]]
}

find_library()
{
	local folder
	for folder in usr/lib/$triplet lib/$triplet; do
		if [[ -e $root/$folder/$1 ]]; then
			echo "$root/$folder/$1"
			return
		fi
	done
	echo "make_bundle.sh: $2 needs $1, which $suite does not have" >&2
	exit 1
}

# With what its libraries need themselves.
copy_libraries()
{
	local library path
	for library in $(needed_of "$1"); do
		if is_of_glibc "$library" || [[ -e $tree/lib/$library ]]; then
			continue
		fi
		path=$(find_library "$library" "$1")
		install -m 644 "$path" "$tree/lib/$library"
		copy_libraries "$tree/lib/$library"
	done
}

# A program of the suite would not even start with a library that is preloaded
# and wants a newer glibc.
for file_built in $build/heapdump $build/heapscan $build/libheapdump-onoom.so; do
	newest=$(readelf -VW "$file_built" | grep -o 'GLIBC_[0-9.]*' |
		sort -uV | tail -n 1)
	if [[ $(printf '%s\n' "$newest" GLIBC_2.31 | sort -V | tail -n 1) != GLIBC_2.31 ]]
	then
		echo "make_bundle.sh: $file_built wants $newest" >&2
		exit 1
	fi
done

tree=$build/$name
rm -rf "$tree"
install -d "$tree"/{bin,lib,share/{licenses,man/man1}}
install -d "$tree"/share/bash-completion/completions
for program in $build/heapdump $build/heapscan "$static"; do
	install -m 755 "$program" "$tree/bin/"
	strip --strip-unneeded "$tree/bin/${program##*/}"
	copy_libraries "$tree/bin/${program##*/}"
done
install -d "$tree/lib/heapscan"
install -m 644 $build/libheapdump-onoom.so "$tree/lib/heapscan"
strip --strip-unneeded "$tree/lib/heapscan/libheapdump-onoom.so"
# libelf.so.1 is of libelf1, libpcre2-8.so.0 of libpcre2-8-0, libz.so.1 of zlib1g.
for library in "$tree"/lib/*.so.*; do
	base=${library##*/}
	stem=${base%%.so.*} number=${base##*.so.}
	for package in "$stem$number" "$stem-$number" "${stem#lib}lib${number}g"; do
		copyright=$root/usr/share/doc/$package/copyright
		[[ ! -e $copyright ]] ||
			install -m 644 "$copyright" "$tree/share/licenses/$base"
	done
	if [[ ! -e $tree/share/licenses/$base ]]; then
		echo "make_bundle.sh: no licence found of $base" >&2
		exit 1
	fi
done
install -m 644 docs/heapdump.1 docs/heapscan.1 "$tree/share/man/man1"
for program in heapdump heapscan; do
	"$tree/bin/$program" --completion bash \
		>"$tree/share/bash-completion/completions/$program"
done
install -m 644 docs/production.md "$tree/share"

tar --sort=name --owner=0 --group=0 --numeric-owner -C $build -cf - "$name" |
	xz -T0 -6 >"$file.new"
mv "$file.new" "$file"
echo "$file"
