# SPDX-License-Identifier: Apache-2.0
#
# An apt of our own, for the scripts that fetch what tests need: packages of
# any suite and architecture of Debian, downloaded and unpacked into a folder.
# Nothing is installed, and the machine's own apt is only asked where its mirror
# is and how to reach the network. To be sourced by bash.
#
#	apt_usable || echo "$reason"
#	apt_prepare FOLDER ARCHITECTURE SUITE...
#	apt_use FOLDER			go back to one prepared before
#	apt_fetch PACKAGE...		the packages and what they depend on
#	apt_unpack ROOT LIST		unpack them; their names go to LIST
#	apt_done			take the folder away
#
# A function that fails has said why in one line in $reason.

reason=

# The archive that this machine's own release of Debian comes from. Who is the
# origin is known only after apt-get update; before it, the name has to do.
apt_mirror()
{
	local codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	apt-get indextargets 'Identifier: Packages' --format \
		'$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(LABEL)|$(REPO_URI)' |
	awk -F '|' -v codename="$codename" '
		$3 == "Debian" && $4 == "Debian" ||
		$3 == "$(ORIGIN)" && $1 == codename && $2 == "main" {
			if (!uri) uri = $5
		}
		END { print uri }'
}

apt_usable()
{
	local tool
	for tool in apt-get dpkg-deb; do
		if ! command -v "$tool" >/dev/null; then
			reason="this machine has no $tool"
			return 1
		fi
	done
	apt_uri=$(apt_mirror) || true
	if [[ -z $apt_uri ]]; then
		reason="apt is configured with no archive of Debian's"
		return 1
	fi
}

apt_use()
{
	apt=$1
	export APT_CONFIG=$apt/apt.conf
}

# Its sources, lists, cache and (empty) list of installed packages lie in the
# folder. Of the machine's configuration only how to reach the network is kept,
# so that no hook of its owner's runs.
apt_prepare()
{
	local architecture=$2 suite
	apt_use "$1"
	shift 2
	mkdir -p "$apt"/{sources,lists/partial,archives/partial}
	: >"$apt/status"
	for suite; do
		printf '%s\n' "Types: deb" "URIs: $apt_uri" "Suites: $suite" \
			"Components: main" \
			"Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" ""
	done >"$apt/sources/newer.sources"
	{
		env -u APT_CONFIG apt-config dump | grep '^Acquire::' || true
		cat <<-CONF
		APT::Architecture "$architecture";
		APT::Architectures { "$architecture"; };
		Dir::Etc::main "/dev/null";
		Dir::Etc::parts "/dev/null";
		Dir::Etc::sourcelist "/dev/null";
		Dir::Etc::sourceparts "$apt/sources";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State "$apt";
		Dir::State::lists "$apt/lists";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt";
		Dir::Cache::archives "$apt/archives";
		Dir::Log "$apt";
		Acquire::Languages "none";
		APT::Install-Recommends "false";
		APT::Sandbox::User "";
		CONF
	} >"$apt/apt.conf"
	apt-get -qq update 2>"$apt/update.log" || {
		echo "some package lists could not be fetched:"
		grep -E '^[EW]:' "$apt/update.log" || cat "$apt/update.log"
	}
}

# apt takes a name that no package has for a pattern, and finds others.
apt_has()
{
	apt-cache show --no-all-versions "$1" 2>/dev/null |
		grep -Fx "Package: $1" >/dev/null
}

# Leave an apt-get's complaint in $reason.
apt_said()
{
	reason="apt-get: $(grep -m 1 '^E:' "$1" || tail -n 1 "$1")"
}

# apt finds the shared libraries: their names change with time.
apt_fetch()
{
	rm -f "$apt"/archives/*.deb
	if ! apt-get -qq -y --download-only install "$@" \
		>"$apt/install.log" 2>&1; then
		apt_said "$apt/install.log"
		return 1
	fi
}

# More packages, without what they depend on.
apt_fetch_alone()
{
	if ! (cd "$apt/archives" && apt-get -qq download "$@") \
		>"$apt/install.log" 2>&1; then
		apt_said "$apt/install.log"
		return 1
	fi
}

apt_unpack()
{
	local root=$1 list=$2 folder deb
	mkdir -p "$root"/{tmp,usr/{bin,sbin,lib,lib64}}
	for folder in bin sbin lib lib64; do
		ln -sfn "usr/$folder" "$root/$folder"
	done
	for deb in "$apt"/archives/*.deb; do
		dpkg-deb -x "$deb" "$root" || {
			reason="cannot unpack ${deb##*/}"
			return 1
		}
		basename "$deb" >>"$list"
	done
}

apt_done()
{
	rm -rf "$apt"
	unset APT_CONFIG
}
