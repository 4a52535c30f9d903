#!/usr/bin/env bash
# Installs the tools that it is given by name, where they are missing, with the system's package
# manager. It says what it is about to do first, and does nothing when all are there.
#
#   scripts/install.sh cargo cc curl mvn unzip
set -euo pipefail

say() { echo "install: $*" >&2; }
fail() { say "$*"; exit 69; }
have() { command -v "$1" >/dev/null 2>&1 || [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/$1" ]; }

# The package that brings a tool. Debian's names are asked for first, Fedora's where they differ.
package_of() {
  case $1 in
    cc) if have apt-get; then echo build-essential; else echo gcc; fi ;;
    mvn) echo maven ;;
    java) if have apt-get; then echo default-jre-headless; else echo java-headless; fi ;;
    setpriv | flock) echo util-linux ;;
    ps) if have apt-get; then echo procps; else echo procps-ng; fi ;;
    *) echo "$1" ;;
  esac
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  have sudo || fail "not root and there is no sudo: run this as root once: $*"
  sudo "$@"
}

install_packages() {
  if have apt-get; then
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -y -qq --no-install-recommends install "$@" >/dev/null
  elif have dnf; then as_root dnf -y -q install "$@"
  elif have pacman; then as_root pacman -S --noconfirm --needed "$@"
  else fail "no package manager that this script knows: install $* by hand"; fi
}

# The toolchain comes with the first cargo call: rust-toolchain.toml pins it.
install_rust() {
  say "installing Rust with rustup, for this user only ($HOME/.cargo)"
  have curl || install_packages curl ca-certificates
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
    sh -s -- -y --quiet --profile minimal --default-toolchain none --no-modify-path
}

packages=() rust=
for tool in "$@"; do
  if have "$tool"; then continue; fi
  if [ "$tool" = cargo ]; then rust=yes; else packages+=("$(package_of "$tool")"); fi
done
if [ ${#packages[@]} -gt 0 ]; then
  say "installing with the system's package manager: ${packages[*]}"
  install_packages "${packages[@]}"
fi
if [ -n "$rust" ]; then install_rust; fi
