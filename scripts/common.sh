# shellcheck shell=bash
# Shared by scripts/demo, scripts/test and .ci/run: find a Python, prepare a venv, run timed steps.
# The caller sets ME, the name put in front of each line. Written for bash 3.2 (macOS) and later.

set -Eeuo pipefail
unset CDPATH
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s: %s\n' "$ME" "$*" >&2; }
die() { say "$*"; exit 1; }
absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$PWD/$1" ;; esac; }

trap 'say "stopped unexpectedly at line $LINENO of ${BASH_SOURCE[0]##*/}"' ERR
trap 'exit 130' INT

VENV=$(absolute "${VENV:-$ROOT/.venv}")

# --- which Python -----------------------------------------------------------------------------

# probe COMMAND: does it really run? Prints "new-enough version path", e.g. "True 3.12.1 /usr/bin/python3";
# inside a venv the path is that of the Python which made it.
probe() {
  "$1" -c 'import sys
path = getattr(sys, "_base_executable", None) or sys.executable
print("%s %d.%d.%d %s" % ((sys.version_info >= (3, 11),) + tuple(sys.version_info[:3]) + (path,)))' 2>/dev/null
}

# minor "True 3.12.1 /usr/bin/python3": prints 3.12
minor() { cut -d' ' -f2 <<<"$1" | cut -d. -f1,2; }

# find_python NAME: probes the name or path, then pyenv's folders (its shim for a name may be there and fail).
find_python() {
  probe "$1" && return
  local candidate
  case $1 in
    python3.*)
      for candidate in "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/${1#python}"*/bin/python; do
        probe "$candidate" && return
      done
      ;;
  esac
  return 1
}

# choose_python NAME: sets PY (path) and PY_VERSION (3.12.1); an empty name takes the best found.
choose_python() {
  local name found='' ok
  if [ -n "$1" ]; then
    found=$(find_python "$1") || die "PYTHON=$1 is not a Python that runs here"
  else
    for name in python3 python3.13 python3.12 python3.11; do
      found=$(find_python "$name") || true
      case $found in True*) break ;; esac
    done
  fi
  read -r ok PY_VERSION PY <<<"${found:-False - -}"
  [ "$ok" = True ] && return
  [ -z "$1" ] || die "PYTHON=$1 is Python $PY_VERSION; ffnn_jax needs 3.11 or later"
  die "no Python 3.11 or later found; install one or name it, e.g. PYTHON=/path/to/python3.12 $ME"
}

# --- the venv ---------------------------------------------------------------------------------
# Two small files in it tell its state: ffnn-unfinished is there from the first step of making or
# installing to the last; ffnn-installed says what was installed (place, requirements, pyproject, extras).

# unusable DIR PYTHON REQUIREMENTS: prints why the venv must be made again; fails when it is fine.
unusable() {
  local dir=$1 version place requirements
  if [ -e "$dir/ffnn-unfinished" ]; then
    echo "was left unfinished"
  elif ! version=$(probe "$dir/bin/python") || ! "$dir/bin/python" -c 'import pip' 2>/dev/null; then
    echo "does not work"
  elif [ -n "$2" ] && [ "$(minor "$version")" != "${PY_VERSION%.*}" ]; then
    echo "is of Python $(minor "$version")"
  elif { IFS= read -r place && IFS= read -r requirements; } 2>/dev/null <"$dir/ffnn-installed"; then
    if [ "$place" != "$dir" ]; then
      echo "was moved"
    elif [ "$requirements" != "$3" ]; then
      echo "holds other requirements (${requirements:-none})"
    else
      return 1
    fi
  else
    return 1
  fi
}

# make_venv DIR: a new venv by PY, with nothing in it.
make_venv() {
  "$PY" -c 'import venv, ensurepip' 2>/dev/null ||
    die "Python $PY_VERSION ($PY) has no venv and pip; on Debian or Ubuntu: apt install python3-venv"
  say "making ${1#"$ROOT"/} with Python $PY_VERSION ($PY)"
  { mkdir -p "$1" && : >"$1/ffnn-unfinished"; } || die "cannot write to $1"
  "$PY" -m venv "$1" >"$1/ffnn-install.log" 2>&1 || failed_install "$1" "could not make ${1#"$ROOT"/}"
}

failed_install() {
  tail -n 15 "$1/ffnn-install.log" >&2
  die "$2; see $1/ffnn-install.log"
}

# prepare_venv DIR EXTRAS PYTHON [REQUIREMENTS...]: makes or reuses DIR with ffnn_jax[EXTRAS] in it.
# PYTHON may be empty: then a venv that works is kept, whichever Python made it.
prepare_venv() {
  local dir=$1 extras=$2 python=$3 requirements why contents state installed began=$SECONDS
  shift 3
  read -r -a requirements <<<"$*"
  [ -z "$python" ] || choose_python "$python"

  # One at a time in a checkout; pip inherits the lock, so one that outlives its script is waited for.
  exec 9<"$ROOT/pyproject.toml"
  if command -v flock >/dev/null && ! flock -n 9; then
    say "waiting for another installation in this checkout"
    flock 9 || true
  fi

  if [ -e "$dir" ] && why=$(unusable "$dir" "$python" "$*"); then
    [ -e "$dir/pyvenv.cfg" ] || [ -e "$dir/ffnn-unfinished" ] || [ -z "$(ls -A "$dir")" ] ||
      die "$dir is there and is no venv: not touching it"
    say "${dir#"$ROOT"/} $why: making it again"
    [ -n "$python" ] || choose_python ""
    rm -rf "$dir" || die "cannot remove $dir"
  fi
  if [ ! -e "$dir" ]; then
    [ -n "$python" ] || choose_python ""
    make_venv "$dir"
  fi

  case $extras in
    dev) contents="dev test data" ;;
    test | docs) contents="$extras data" ;;
    *) contents=$extras ;;
  esac
  state="$dir
$*
$(cksum <"$ROOT/pyproject.toml")
"
  installed=$(cat "$dir/ffnn-installed" 2>/dev/null || true)
  case $installed in
    "$state"*"$extras"*) ;; # what is asked for is in there
    *)
      case $installed in "$state"*) contents="$contents ${installed#"$state"}" ;; esac # pip removes nothing
      say "installing ffnn_jax[$extras]${*:+ with $*} (the first time takes a minute or more)"
      : >"$dir/ffnn-unfinished" || die "cannot write to $dir"
      # --no-compile: Python compiles what is imported when it is; most of the files never are
      "$dir/bin/python" -m pip install --no-input --disable-pip-version-check --no-compile \
        -e "${ROOT}[$extras]" ${requirements[@]+"${requirements[@]}"} >"$dir/ffnn-install.log" 2>&1 || {
        # pip gave up by itself: what was there before still works; killed: nobody knows
        [ $? -gt 128 ] || rm -f "$dir/ffnn-unfinished"
        failed_install "$dir" "could not install ffnn_jax[$extras]"
      }
      printf '%s%s\n' "$state" "$contents" >"$dir/ffnn-installed"
      rm -f "$dir/ffnn-unfinished"
      say "installed in $((SECONDS - began)) s"
      ;;
  esac
  exec 9<&-
}

# --- steps ------------------------------------------------------------------------------------

PASSED='' FAILED=''

# step NAME COMMAND...: runs it, times it and remembers how it ended.
step() {
  local name=$1 began=$SECONDS
  shift
  say "$name"
  if "$@"; then
    PASSED="${PASSED:+$PASSED, }$name $((SECONDS - began)) s"
  else
    say "$name failed"
    FAILED="${FAILED:+$FAILED, }$name $((SECONDS - began)) s"
  fi
}

# finish: the closing line, and the exit status.
finish() {
  [ -z "$FAILED" ] || die "FAILED: $FAILED${PASSED:+ (passed: $PASSED)}"
  say "all passed: $PASSED"
}
