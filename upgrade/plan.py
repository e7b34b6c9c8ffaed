"""Makes the commit that an upgrade picks: what the template changed, for this project."""

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from upgrade import locks, notes, render, state
from upgrade.errors import RefusedError
from upgrade.git import Git, GitError
from upgrade.migrations import Migrations
from upgrade.notes import Notes
from upgrade.state import Answers, State
from upgrade.template import Template

MOVES = "deploy_to"
MOVED = """\
- Before you push this: connect the project with {1}, as delivery/README.md says. What runs on {0}
  goes on there until you end it, and visitors follow the domain."""
YES = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}


@dataclass(frozen=True)
class Wanted:
    """What a person asks for: a version (a tag, or the newest), and answers to change."""

    version: str
    changes: Mapping[str, str]
    template: str | None = None  # another address from now on


@dataclass(frozen=True)
class Plan:
    """The commit to pick onto `start`, and what is to be said and done beside it."""

    start: str
    old: State
    new: State
    pick: str
    branch: str
    message: str
    notes: Notes
    moves: dict[str, str]
    relock: bool


def target(template: Template, old: State, wanted: Wanted) -> State | None:
    """Return the state to reach, or None where the project has it already.

    Its answers are complete but for prompts that the wanted version is the first to have.
    """
    template.commit(old.commit)
    commit = template.commit(wanted.version)
    prompts = template.prompts(commit, old.directory)
    answers = Migrations.of(template, commit).migrate(old.answers, prompts)
    new = State(
        template=wanted.template or old.template,
        commit=commit,
        release=template.release(commit),
        answers=changed(answers, prompts, wanted.changes),
        directory=old.directory,
        extra=old.extra,
    )
    same = new.commit == old.commit or template.is_older(new.commit, old.commit)
    return None if same and not wanted.changes else new


def changed(answers: Answers, prompts: Answers, changes: Mapping[str, str]) -> Answers:
    """Return the answers with the changes, each checked against the prompt that it answers."""
    answers = dict(answers)
    for name, value in changes.items():
        if name not in prompts:
            raise RefusedError(f"there is no prompt {name!r}: choose from {', '.join(prompts)}")
        answers[name] = YES.get(value.lower(), value) if type(prompts[name]) is bool else value
    for name, value in answers.items():
        prompt = prompts[name]
        choices = prompt if isinstance(prompt, list) else [True, False]
        if not isinstance(prompt, str) and value not in choices:
            known = ", ".join("yes" if c is True else "no" if c is False else c for c in choices)
            raise RefusedError(
                f"{name} cannot be {value!r} in this version: choose from {known}, with"
                f" --set {name}=VALUE"
            )
    return answers


def make(project: Git, prefix: str, template: Template, new: State, work: Path) -> Plan:
    """Render both versions and make the commit; nothing that a person sees changes.

    `prefix` is the project's folder in its repository, with a slash at its end, or nothing.
    """
    old = state.read(project.folder)
    start = project.line("rev-parse", "HEAD")
    (work / "base").mkdir()
    (work / "theirs").mkdir()
    with ThreadPoolExecutor() as both:
        base = both.submit(render.render, template, old, work / "base", strict=False)
        theirs = both.submit(render.render, template, new, work / "theirs", strict=True)
        (old_folder, _), (new_folder, answers) = base.result(), theirs.result()
    new = dataclasses.replace(new, answers=answers)
    base_tree = render.write_tree(project, old_folder, prefix, work / "base")
    theirs_tree = render.write_tree(project, new_folder, prefix, work / "theirs")

    # .cruft.json and the locks are not merged as text: one side is what the project has, so the
    # other is the outcome.
    kept: dict[str, str | None] = {}
    outcome: dict[str, str | None] = {prefix + state.NAME: render.blob(project, new.text())}
    kept[prefix + state.NAME] = project.line("rev-parse", f"{start}:{prefix}{state.NAME}")
    relock = False
    for name in locks.NAMES:
        try:
            ours = project("show", f"{start}:{prefix}{name}")
        except GitError:
            continue  # the project has none; git knows what to do with a file that one side deleted
        before, after = _read(old_folder / name), _read(new_folder / name)
        if before is None or after is None:
            continue
        merged = locks.merge(before, ours, after)
        relock = relock or merged != after
        kept[prefix + name] = project.line("rev-parse", f"{start}:{prefix}{name}")
        outcome[prefix + name] = render.blob(project, merged)
    migrations = Migrations.of(template, new.commit)
    moves = _moves(project, prefix, start, (base_tree, theirs_tree), migrations)
    blobs = {path: about.split()[2] for path, about in render.entries(project, base_tree).items()}
    kept |= {to: blobs[old] for old, to in moves.items()} | dict.fromkeys(moves)
    base_tree = render.put(project, base_tree, work / "base", kept)
    theirs_tree = render.put(project, theirs_tree, work / "theirs", outcome)

    told = _notes(template, old, new)
    if MOVES in old.answers and old.answers[MOVES] != new.answers.get(MOVES):
        told.duties.append(MOVED.format(old.answers[MOVES], new.answers.get(MOVES)))
    message = f"{_subject(template, old, new)}\n\n{told.text()}".strip() + "\n"
    base_commit = project.line("commit-tree", base_tree, stdin=f"Version {old.name}, as rendered\n")
    return Plan(
        start=start,
        old=old,
        new=new,
        pick=project.line("commit-tree", theirs_tree, "-p", base_commit, stdin=message),
        branch=f"upgrade/{new.name}",
        message=message,
        notes=told,
        moves=moves,
        relock=relock,
    )


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


def _moves(
    project: Git, prefix: str, start: str, trees: tuple[str, str], migrations: Migrations
) -> dict[str, str]:
    """Return the files that moved in the template and that the project has edited.

    The project's own move comes first, in a commit of its own, and BASE has them moved, too.
    """
    ours, base, theirs = (render.entries(project, tree) for tree in (start, *trees))
    return {
        old: new
        for old, new in migrations.moves(set(base), set(theirs), prefix).items()
        if old in ours and new not in ours and ours[old] != base[old]
    }


def _notes(template: Template, old: State, new: State) -> Notes:
    """Return the notes of the releases that the project has not seen."""
    versions = [_declared(template, commit, old.directory) for commit in (old.commit, new.commit)]
    path = f"{new.directory}/CHANGELOG.md" if new.directory else "CHANGELOG.md"
    return notes.between(template.read(new.commit, path), *versions)


def _declared(template: Template, commit: str, directory: str | None) -> str:
    """Return the version that the template says it has: not every commit has a tag."""
    settings = template.settings(commit, directory)
    return str(settings.get("_template_version", ""))


def _subject(template: Template, old: State, new: State) -> str:
    changes = [
        f"{k}={v}" for k, v in new.answers.items() if k in old.answers and old.answers[k] != v
    ]
    answers = f"with {', '.join(changes)}" if changes else ""
    if new.commit == old.commit:
        return f"Bake {new.name} again {answers}"
    name = template.settings(new.commit, new.directory).get("_template_name", "the template")
    return f"Upgrade to {name} {new.name} from {old.name} {answers}".strip()
