#!/usr/bin/env bash
# Installs the tools that it is given by name, where they are missing, with the system's package
# manager. It says what it is about to do first, and does nothing when all are there.
#
#   scripts/install.sh curl mvn unzip    a tool goes by its command, a library by libssl
#   scripts/install.sh build             all that building this project needs
set -euo pipefail

say() { echo "install: $*" >&2; }
fail() { say "$*"; exit 69; }
have() {
  case $1 in
    libssl) pkg-config --exists openssl 2>/dev/null ;;
    venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    *) command -v "$1" >/dev/null 2>&1 || [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/$1" ] ;;
  esac
}

# librdkafka is built from its source, with TLS.
build_tools=(cargo cc c++ make pkg-config libssl)

# The package that brings a tool: on Debian, on Fedora, and on Arch where that differs again.
package_of() {
  case $1 in
    cc) package build-essential gcc ;;
    c++) package build-essential gcc-c++ gcc ;;
    libssl) package libssl-dev openssl-devel openssl ;;
    pkg-config) package pkg-config pkgconf-pkg-config pkgconf ;;
    mvn) package maven ;;
    java) package default-jre-headless java-headless jre-openjdk-headless ;;
    setpriv | flock) package util-linux ;;
    ps) package procps procps-ng ;;
    venv) package python3-venv python3 python ;;
    *) package "$1" ;;
  esac
}

package() {
  if have apt-get; then echo "$1"
  elif have pacman; then echo "${3:-${2:-$1}}"
  else echo "${2:-$1}"; fi
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

if [ "${1:-}" = build ]; then
  shift
  set -- "${build_tools[@]}" "$@"
fi
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
