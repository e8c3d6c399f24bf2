#!/usr/bin/env bash
# Makes what the other scripts need: .venv with the package and its tools, and a Java for Spark.
# Source it, which exports JAVA_HOME and puts .venv first in PATH, or call it. A second run changes
# nothing. Written for bash 3.2, which is what macOS has.

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -eu
fi

setup_root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
setup_venv=$setup_root/.venv
setup_stamp=$setup_venv/.setup-done
setup_started=$setup_venv/.setup-started
setup_java_memo=$setup_venv/.setup-java

setup_say() {
  printf '%s\n' "$*" >&2
}

# Installs the first of the named Debian packages that there is; only as root, where nobody has to be
# asked.
setup_apt_install() {
  local package output
  command -v apt-get >/dev/null 2>&1 || return 1
  [ "$(id -u)" = 0 ] || return 1
  setup_say "Installing $1 with apt-get ..."
  # One unreachable source fails an update, yet need not be the one that has the package.
  apt-get -qq update </dev/null >/dev/null 2>&1 || true
  for package; do
    output=$(DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "$package" </dev/null 2>&1) &&
      return 0
  done
  setup_say "$output"
  return 1
}

# Prints the home of the Java launcher $1 if Spark can start on it: 17 or later, and with the module
# for vectors, which some reduced runtimes leave out.
setup_java_home() {
  local facts version
  facts=$("$1" -XshowSettings:properties -version </dev/null 2>&1) || return 1
  version=$(printf '%s\n' "$facts" | sed -n 's/^ *java\.specification\.version = //p')
  case $version in
    '' | *[!0-9]*) return 1 ;; # Java 8 calls itself 1.8
  esac
  [ "$version" -ge 17 ] || return 1
  case $("$1" --list-modules </dev/null 2>/dev/null) in
    *jdk.incubator.vector@*) ;;
    *) return 1 ;;
  esac
  printf '%s\n' "$facts" | sed -n 's/^ *java\.home = //p'
}

setup_find_java() {
  local launcher
  for launcher in \
    "${JAVA_HOME:-}/bin/java" \
    "$(command -v java 2>/dev/null)" \
    "$(/usr/libexec/java_home -v 17+ 2>/dev/null)/bin/java" \
    {/opt/homebrew,/usr/local}/opt/openjdk{@17,@21,}/bin/java \
    /usr/lib/jvm/*17*/bin/java \
    /usr/lib/jvm/*/bin/java \
    /Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java; do
    [ -x "$launcher" ] || continue
    setup_java_home "$launcher" && return 0
  done
  return 1
}

# Sets JAVA_HOME. The search starts several JVMs, so its result is kept for as long as it stands.
setup_java() {
  local home command
  home=$(cat "$setup_java_memo" 2>/dev/null) || home=
  if [ -n "$home" ] && [ -x "$home/bin/java" ] && [ "${JAVA_HOME:-$home}" = "$home" ]; then
    JAVA_HOME=$home
    return 0
  fi
  home=$(setup_find_java) || home=
  if [ -z "$home" ] && setup_apt_install openjdk-17-jre-headless default-jre-headless; then
    home=$(setup_find_java) || home=
  fi
  if [ -z "$home" ]; then
    case $(uname -s) in
      Darwin) command='brew install openjdk@17' ;;
      *) command='sudo apt-get install openjdk-17-jre-headless (or default-jre-headless)' ;;
    esac
    setup_say "Spark needs Java 17 or later with the module jdk.incubator.vector; run: $command"
    return 1
  fi
  JAVA_HOME=$home
}

setup_find_python() {
  local name
  for name in python3 python3.11 python3.12 python3.13 python3.14; do
    # Not every pinned package is built for a later Python.
    "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
      >/dev/null 2>&1 || continue
    printf '%s\n' "$name"
    return 0
  done
  return 1
}

setup_make_venv() {
  local python output
  python=$(setup_find_python) || {
    setup_say "Python 3.11 to 3.14 is needed, and neither python3 nor python3.11 to python3.14 is one."
    return 1
  }
  # Debian keeps what venv needs in a package of its own, one for each version of Python.
  if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    setup_apt_install "$python-venv" || {
      setup_say "$python cannot make virtual environments; run: sudo apt-get install $python-venv"
      return 1
    }
  fi
  setup_say "Making .venv with $("$python" --version) ..."
  output=$("$python" -m venv --clear "$setup_venv" 2>&1) || {
    setup_say "$output"
    return 1
  }
}

# What the virtual environment was made from. The folder counts too: scripts in .venv/bin name it.
setup_checksum() {
  "$setup_venv/bin/python" -I -c '
import hashlib, pathlib, sys

root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256(repr((sys.version, str(root))).encode())
for name in ("pyproject.toml", "dev/constraints.txt"):
    digest.update((root / name).read_bytes())
print(digest.hexdigest())
' "$setup_root"
}

setup_pip_install() {
  # Python compiles what is imported, which is a small part of the files.
  PIP_USER=0 "$setup_venv/bin/python" -m pip -qq --disable-pip-version-check --no-input \
    install --no-compile -c dev/constraints.txt "$@" </dev/null
}

setup_install() {
  local before
  # An install that was cut short may have left half a package which pip takes for a whole one, and
  # a folder that was moved has scripts that point to its old place: both are made anew.
  if [ -e "$setup_started" ] ||
    ! grep -qF "$setup_venv" "$setup_venv/bin/activate" 2>/dev/null ||
    ! "$setup_venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' \
      >/dev/null 2>&1; then
    setup_make_venv || return 1
  fi
  before=$(ls "$setup_venv"/lib/python3*/site-packages)
  rm -f "$setup_stamp"
  : >"$setup_started" || return 1
  setup_say "Installing the package and its tools into .venv (takes a few minutes) ..."
  # Without isolation the build backend is the pinned one too.
  (
    cd -- "$setup_root" || exit 1
    setup_pip_install setuptools &&
      setup_pip_install --no-build-isolation --use-pep517 -e '.[dev]'
  ) || {
    # No network, say: what is there is as good as it was.
    [ "$before" != "$(ls "$setup_venv"/lib/python3*/site-packages)" ] || rm -f "$setup_started"
    setup_say "The install into .venv failed; run this again when the cause above is mended."
    return 1
  }
  setup_write "$setup_stamp" "$(setup_checksum)" && rm -f "$setup_started"
}

# A file is there in full or not at all.
setup_write() {
  printf '%s\n' "$2" >"$1.$$" && mv -f "$1.$$" "$1"
}

setup_everything() {
  local sum
  setup_java || return 1
  sum=$(setup_checksum 2>/dev/null) || sum=
  if [ -z "$sum" ] || [ "$(cat "$setup_stamp" 2>/dev/null)" != "$sum" ]; then
    setup_install || return 1
  fi
  if [ "$(cat "$setup_java_memo" 2>/dev/null)" != "$JAVA_HOME" ]; then
    setup_write "$setup_java_memo" "$JAVA_HOME" || return 1
  fi
  export JAVA_HOME
  export PATH="$setup_venv/bin:$PATH"
  # Another Spark or Python that the user's shell points to must not be mixed with those of .venv.
  export PYSPARK_PYTHON="$setup_venv/bin/python" PYSPARK_DRIVER_PYTHON="$setup_venv/bin/python"
  unset SPARK_HOME PYTHONHOME PYTHONPATH
}

setup_everything
