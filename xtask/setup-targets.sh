#!/usr/bin/env bash
# setup-targets.sh [--check] TARGET... - make cross-compilation targets usable; `cargo xtask setup`
# calls it.
#
# For each target the first of these that works is taken:
#   present  its core library is already in the sysroot
#   rustup   `rustup target add` downloaded it
#   built    core/alloc (or std) was compiled once from rust-src of exactly the running rustc's
#            version, and put into the sysroot, after which plain `cargo build --target T` works
# rust-src comes from `rustup component add rust-src` or, where that cannot download, from the
# Debian package of that name, found through the archive that apt is already set up to use, in
# another suite if need be, checked by apt's signatures. The machine's own apt configuration is
# left as it is. With --check nothing is changed.
#
# Exit status: 0 all targets usable, 1 some are not, 2 wrong use.
set -u -o pipefail

# suites looked through, in this order, for a rust-src of the right version
SUITES="${SELVEDGE_SUITES:-trixie-backports sid trixie trixie-updates forky forky-backports bookworm-backports experimental}"

say()  { printf 'setup-targets: %s\n' "$*" >&2; }
die()  { say "$*"; exit 2; }
have() { command -v "$1" >/dev/null 2>&1; }
limit() { if have timeout; then timeout "$@"; else shift; "$@"; fi; }

use_rustup=1 check=0 targets=''
while [ $# -gt 0 ]; do
  case $1 in
    --check) check=1 ;;
    -*)      die "unknown option $1" ;;
    *)       targets="$targets $1" ;;
  esac
  shift
done
[ -n "$targets" ] || die "which targets?"
have rustc && have cargo || die "rustc and cargo must be on PATH"
have rustup || use_rustup=0

release=$(rustc -vV | sed -n 's/^release: //p')      # 1.95.0, 1.97.0-nightly
host=$(rustc -vV | sed -n 's/^host: //p')
sysroot=$(rustc --print sysroot)
src=$sysroot/lib/rustlib/src/rust
stamp=$src/.from-release
toolchain=$(basename "$sysroot")
tmp=''
cleanup() { [ -z "$tmp" ] || rm -rf "$tmp"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

is_none() { case $1 in *-none-*|*-none) return 0;; esac; return 1; }
# which standard-library crates a target gets
std_crates() { if is_none "$1"; then echo core,alloc; else echo std,panic_abort; fi; }
std_features() { if is_none "$1"; then echo compiler-builtins-mem; fi; }
in_sysroot() { ls "$sysroot/lib/rustlib/$1/lib/"libcore-*.rlib >/dev/null 2>&1; }
build_std_flags() {
  local f; f="-Z build-std=$(std_crates "$1")"
  [ -z "$(std_features "$1")" ] || f="$f -Z build-std-features=$(std_features "$1")"
  echo "$f"
}
known_target() { rustc --print target-list | grep -Fxq -- "$1"; }

# ---------------------------------------------------------------- rust-src
# Every archive root that apt here is set up to use, main archive first, security last.
apt_archives() {
  { for f in /etc/apt/sources.list.d/*.sources; do
      [ -r "$f" ] || continue
      awk 'tolower($1)=="enabled:" && tolower($2)=="no" {off=1}
           tolower($1)=="types:"   {deb=0; for(i=2;i<=NF;i++) if($i=="deb") deb=1}
           tolower($1)=="uris:"    {n=0; for(i=2;i<=NF;i++) u[n++]=$i}
           /^[[:space:]]*$/        {if(deb&&!off) for(i=0;i<n;i++) print u[i]; n=0; off=0; deb=0}
           END                     {if(deb&&!off) for(i=0;i<n;i++) print u[i]}' "$f"
    done
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
      [ -r "$f" ] || continue
      sed -n 's/^[[:space:]]*deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\).*/\2/p' "$f"
    done
  } | sed 's,/*$,,' | awk '!seen[$0]++' |
  awk '/secur/ {late[++k]=$0; next} {print} END {for(i=1;i<=k;i++) print late[i]}'
}

rust_src_ok() {
  [ -f "$src/library/core/src/lib.rs" ] || return 1
  if [ -f "$stamp" ]; then [ "$(cat "$stamp")" = "$release" ]; return; fi
  # no stamp: put there by rustup (then it matches) or by hand (then trust it)
  return 0
}

rust_src_by_apt() {
  local base=${release%%-*} keyring archive suite ver deb dir
  case $release in *-*) say "rustc $release is no stable release: no package of its sources"; return 1;; esac
  have apt-get && have apt-cache && have dpkg-deb || { say "no apt here"; return 1; }
  for keyring in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/ubuntu-archive-keyring.gpg; do
    [ -r "$keyring" ] && break
  done
  [ -r "$keyring" ] || { say "no archive keyring found"; return 1; }
  tmp=$(mktemp -d) || return 1
  mkdir -p "$tmp"/{lists/partial,cache/archives/partial,parts,x}
  for archive in $(apt_archives); do
    for suite in $SUITES; do
      printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$archive" "$suite" > "$tmp/one.list"
      # a private list folder: the machine's own apt state is left as it is
      local o=(-q -o "Dir::Etc::sourcelist=$tmp/one.list" -o Dir::Etc::sourceparts="$tmp/parts"
        -o Dir::Etc::preferencesparts="$tmp/parts" -o Dir::Etc::preferences=/dev/null
        -o "Dir::State::lists=$tmp/lists" -o "Dir::Cache=$tmp/cache" -o APT::Sandbox::User=
        -o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=30
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o Acquire::AllowInsecureRepositories=false -o APT::Get::AllowUnauthenticated=false
        -o APT::Update::Error-Mode=any)
      apt-get "${o[@]}" update >"$tmp/log" 2>&1 || { say "suite $suite: not to be had"; continue; }
      ver=$(apt-cache "${o[@]}" madison rust-src 2>/dev/null |
            awk -F'|' -v v="$base" '{gsub(/ /,"",$2); w=$2; sub(/^[0-9]+:/,"",w); sub(/[+~-].*/,"",w); if (w==v) {print $2; exit}}')
      [ -n "$ver" ] || { say "suite $suite: no rust-src $base"; continue; }
      (cd "$tmp" && apt-get "${o[@]}" download "rust-src=$ver") >"$tmp/log" 2>&1 ||
        { say "suite $suite: rust-src $ver did not download or verify"; sed 's/^/  /' "$tmp/log" >&2; continue; }
      deb=$(ls "$tmp"/rust-src_*.deb 2>/dev/null | head -1); [ -n "$deb" ] || continue
      dpkg-deb -x "$deb" "$tmp/x" || continue
      dir=$tmp/x/usr/src/rustc-$base/library
      [ -f "$dir/core/src/lib.rs" ] || { say "rust-src $ver: unexpected layout"; continue; }
      mkdir -p "$sysroot/lib/rustlib/src" && rm -rf "$src.new" && mkdir "$src.new" &&
        cp -a "$dir" "$src.new/library" && printf '%s\n' "$release" > "$src.new/.from-release" &&
        rm -rf "$src" && mv "$src.new" "$src" ||
        { say "cannot write to $sysroot"; return 1; }
      say "rust-src $ver from suite $suite"
      return 0
    done
  done
  return 1
}

ensure_rust_src() {
  rust_src_ok && return 0
  [ $check = 0 ] || return 1
  if [ $use_rustup = 1 ] && limit 300 rustup component add rust-src --toolchain "$toolchain" >/dev/null 2>&1 && rust_src_ok; then
    say "rust-src by rustup"; return 0
  fi
  rust_src_by_apt
}

# ---------------------------------------------------------------- a library of our own
# Compile the standard crates once and put them where rustc looks for them.
build_into_sysroot() {
  local t=$1 work dest=$sysroot/lib/rustlib/$1/lib out
  [ -w "$sysroot/lib/rustlib" ] || return 1
  work=$(mktemp -d) || return 1
  mkdir -p "$work/src"
  # no panic strategy is set: std must hold both, and each target has its own default
  printf '[package]\nname="probe"\nversion="0.0.0"\nedition="2021"\n[lib]\n[workspace]\n[profile.release]\nopt-level=3\ndebug=0\n' > "$work/Cargo.toml"
  echo '#![no_std]' > "$work/src/lib.rs"
  # shellcheck disable=SC2046
  if ! (cd "$work" && env -u CARGO_BUILD_TARGET -u CARGO_ENCODED_RUSTFLAGS RUSTFLAGS="-Cembed-bitcode=yes" \
        CARGO_TARGET_DIR="$work/t" RUSTC_BOOTSTRAP=1 \
        cargo build -q --release --target "$t" $(build_std_flags "$t") ) >"$work/log" 2>&1; then
    say "building the standard library for $t failed:"; tail -5 "$work/log" >&2
    rm -rf "$work"; return 1
  fi
  out=$work/t/$t/release/deps
  if in_sysroot "$t"; then rm -rf "$work"; return 0; fi   # somebody else put it there meanwhile
  mkdir -p "$dest.new" && rm -f "$dest.new"/* &&
    find "$out" -name 'lib*.rlib' ! -name 'libprobe*' -exec cp {} "$dest.new/" \; &&
    ls "$dest.new"/libcore-*.rlib >/dev/null 2>&1 && rm -rf "$dest" && mv "$dest.new" "$dest" &&
    printf '%s\n' "$release" > "$sysroot/lib/rustlib/$t/.self-built"
  local rc=$?
  rm -rf "$work"
  return $rc
}

# ---------------------------------------------------------------- go
status=0
rustup_dead=0
for t in $targets; do
  how=''
  known_target "$t" || { say "rustc knows no target $t"; status=1; printf '%s\tunknown\n' "$t"; continue; }
  # a self-built library of another release is stale
  own=$sysroot/lib/rustlib/$t/.self-built
  if [ -f "$own" ] && [ "$(cat "$own")" != "$release" ] && [ $check = 0 ]; then rm -rf "${sysroot:?}/lib/rustlib/$t"; fi
  if [ "$t" = "$host" ] || in_sysroot "$t"; then how=present
  elif [ $check = 1 ]; then how=missing; status=1
  else
    if [ $use_rustup = 1 ] && [ $rustup_dead = 0 ]; then
      if limit 300 rustup target add --toolchain "$toolchain" "$t" >/dev/null 2>&1 && in_sysroot "$t"; then how=rustup
      else rustup_dead=1; say "rustup cannot download here"; fi
    fi
    if [ -z "$how" ] && ensure_rust_src; then
      if build_into_sysroot "$t"; then how=built; fi
    fi
    [ -n "$how" ] || { how=missing; status=1; }
  fi
  printf '%s\t%s\n' "$t" "$how"
done
exit $status
