# Sourced by bin/at and by the git hook pre-commit: copies what git holds, and nothing else.

# use_copy TREE [HEAD]: makes a copy in the new folder $copy, which goes when the script ends. A
# script that is killed outright (SIGKILL) leaves it where the system keeps temporary files.
use_copy() {
  # A hook runs with git's own variables set: nothing from here on may act on this repository.
  # shellcheck disable=SC2046 # the names are to be split
  unset $(git rev-parse --local-env-vars)
  copy=$(mktemp -d)
  # prek notes each folder that it has worked in, for good. In a home of its own, the notes can go.
  PREK_HOME=$(git rev-parse --path-format=absolute --git-common-dir)/prek
  export PREK_HOME
  trap 'rm -rf "$copy" "$PREK_HOME/cache/prek" "$PREK_HOME/config-tracking.json" || true' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  copy_tree "$1" "${2-}" "$copy"
}

# copy_tree TREE HEAD FOLDER: makes FOLDER a repository with exactly these files, submodules
# included. It borrows this repository's objects instead of copying them. Unlike "git archive", it
# takes no notice of export-ignore; unlike "git worktree", a test that moves a branch moves its own.
copy_tree() (
  cd "./$(git rev-parse --show-cdup)" || exit
  git -c core.quotePath=false ls-tree -r "$1" | sed -n 's/^160000 commit //p' |
    while IFS="$(printf '\t')" read -r commit path; do
      if ! [ -e "$path/.git" ] || ! git -C "$path" cat-file -e "$commit^{commit}" 2>/dev/null; then
        echo "$0: commit $commit of the submodule $path is not here; to get it, type:" >&2
        echo "  git submodule update --init --recursive && git -C '$path' fetch origin $commit" >&2
        exit 1
      fi
      (cd -- "$path" && copy_tree "$commit^{tree}" "$commit" "$3/$path")
    done
  tree=$(git rev-parse "$1")
  # A partial clone fetches what it lacks as it is read, but the copy would not know from where. To
  # compare with nothing reads it all, and git then fetches it at once.
  if git config --get-regexp '^remote\..*\.promisor$' >/dev/null; then
    git diff-tree --shortstat "$(git hash-object -t tree --stdin </dev/null)" "$tree" >/dev/null
  fi
  objects=$(git rev-parse --path-format=absolute --git-path objects)
  shallow=$(git rev-parse --path-format=absolute --git-path shallow)
  format=$(git rev-parse --show-object-format)
  git init --quiet --template= --initial-branch=main --object-format="$format" "$3"
  printf '%s\n' "$objects" >"$3/.git/objects/info/alternates"
  ! [ -f "$shallow" ] || cp "$shallow" "$3/.git/shallow"
  cd -- "$3" || exit
  [ -z "$2" ] || git update-ref HEAD "$2"
  git read-tree "$tree"
  git checkout-index --all --index
)
