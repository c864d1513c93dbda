# What the scripts share; to be sourced.

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

install_package() { # Debian package
  step "installing $1"
  if [ "$(id -u)" -eq 0 ]; then as_root=""; else as_root="sudo"; fi
  $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends "$1"
}

need() { # command, Debian package
  command -v "$1" >/dev/null 2>&1 || install_package "$2"
}

need_cargo() { # crate, subcommand
  cargo "$2" --version >/dev/null 2>&1 && return
  step "installing $1"
  cargo install --locked "$1"
}
