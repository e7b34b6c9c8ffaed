# Sourced by the scripts in this folder: moves to the project's root and finds its tools.
CDPATH='' cd -- "$(dirname -- "$0")/.." || exit

# Where the tools are: .venv, unless VENV names another place (an image keeps them outside the mount).
VENV=${VENV:-$PWD/.venv}
export VENV
PATH=$VENV/bin:$VENV/Scripts:$PATH # Scripts is what Windows calls bin

# help: prints the comment that the script starts with.
help() {
  sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0"
}

# need TOOL: stops with advice unless bin/setup has installed the tool.
need() {
  if ! [ -e "$VENV/bin/$1" ] && ! [ -e "$VENV/Scripts/$1.exe" ]; then
    echo "$0: $1 is not installed in $VENV: run bin/setup" >&2
    exit 1
  fi
  if ! cmp -s requirements-dev.txt "$VENV/requirements-dev.txt"; then
    echo "$0: requirements-dev.txt has changed since the last bin/setup: run bin/setup" >&2
  fi
}
