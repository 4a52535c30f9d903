# Sourced by servers.sh: unpacks packages into a folder, with nothing installed on the machine.
# shellcheck shell=bash

# unpack_debian SUITE FOLDER LEFT_OUT PACKAGE...: fetches the packages and all they depend on (but
# LEFT_OUT) from the mirror that apt is set up with, through an apt of its own: other sources,
# state and cache, so that the host's are untouched and no root is needed. No script of a package
# is run. DEBIAN_MIRROR names another mirror.
unpack_debian() {
  local suite=$1 folder=$2 left_out=$3 apt=$place/debian/$1
  shift 3
  debian_apt "$suite" "$apt" "$left_out"
  export APT_CONFIG=$apt/apt.conf
  if ! ls "$apt"/state/lists/*_Packages* >/dev/null 2>&1; then apt-get -qq update; fi
  # The list is asked for against an empty cache: what is cached would be left out of it.
  apt-get -y -qq -o Dir::Cache::archives="$apt/empty" --print-uris install "$@" >"$apt/wanted"
  # The folder is that of the caller: apt wants to write there.
  (cd "$apt/cache/archives" && apt-get -y -qq --download-only install "$@" >/dev/null)
  unset APT_CONFIG
  local file
  while read -r _ file _; do
    dpkg-deb -x "$apt/cache/archives/$file" "$folder"
  done <"$apt/wanted"
  say "unpacked $(wc -l <"$apt/wanted") packages of Debian $suite"
}

debian_apt() {
  local suite=$1 apt=$2 left_out=$3 keys=/usr/share/keyrings/debian-archive-keyring.gpg package
  [ -e "$keys" ] || fail "$keys is missing: install the package debian-archive-keyring"
  mkdir -p "$apt"/etc/{apt.conf.d,preferences.d,sources.list.d} "$apt"/state/lists/partial \
    "$apt"/cache/archives/partial "$apt"/empty/partial "$apt"/log
  # Unstable is signed for a week only, and a machine's clock may be off: the signature counts.
  cat >"$apt/apt.conf" <<CONF
Dir::Etc "$apt/etc";
Dir::Etc::sourcelist "$apt/etc/sources.list";
Dir::Etc::sourceparts "$apt/etc/sources.list.d";
Dir::Etc::trustedparts "/usr/share/keyrings";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log "$apt/log";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::Retries "3";
Acquire::GzipIndexes "true";
Debug::NoLocking "true";
CONF
  echo "deb [arch=amd64 signed-by=$keys] $(debian_mirror) $suite main" >"$apt/etc/sources.list"
  # What is left out counts as installed.
  for package in $left_out; do
    printf 'Package: %s\nStatus: install ok installed\nMaintainer: none\nArchitecture: amd64\n' \
      "$package"
    printf 'Multi-Arch: allowed\nVersion: 99999:0\nDescription: left out\n\n'
  done >"$apt/status"
}

debian_mirror() {
  if [ -n "${DEBIAN_MIRROR:-}" ]; then echo "$DEBIAN_MIRROR"; return; fi
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
    grep -m1 -E '/debian/?$' ||
    fail "apt has no Debian mirror: name one with DEBIAN_MIRROR, or start Docker"
}

# maven_file GROUP:ARTIFACT:VERSION[:TYPE[:CLASSIFIER]]: fetches that file alone, a jar if no type
# is given, and prints its path.
maven_file() {
  local group artifact version type classifier path
  IFS=: read -r group artifact version type classifier <<<"$1"
  path=$place/maven/${group//.//}/$artifact/$version/$artifact-$version
  path+=${classifier:+-$classifier}.${type:-jar}
  if [ ! -f "$path" ]; then
    "$repository/scripts/install.sh" mvn
    mvn -B -q -Dstyle.color=never -Dmaven.repo.local="$place/maven" dependency:get -Dartifact="$1" \
      -Dtransitive=false >&2
  fi
  echo "$path"
}

# maven_jars FOLDER GROUP:ARTIFACT:VERSION...: puts these jars, and all that they need to run, into
# the folder.
maven_jars() {
  local folder=$1 name group artifact version
  shift
  "$repository/scripts/install.sh" mvn
  mkdir -p "$folder"
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>local</groupId><artifactId>jars</artifactId><version>1</version>'
    echo '<packaging>pom</packaging><dependencies>'
    for name in "$@"; do
      IFS=: read -r group artifact version <<<"$name"
      echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId>"
      echo "<version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
  } >"$folder/pom.xml"
  mvn -B -q -Dstyle.color=never -Dmaven.repo.local="$place/maven" -f "$folder/pom.xml" \
    dependency:copy-dependencies -DoutputDirectory="$folder" -DincludeScope=runtime >&2
}
