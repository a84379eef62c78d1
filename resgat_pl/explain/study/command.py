"""``resgat study``: does a map help people? Pages for participants, and the analysis of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.formats import stamp
from resgat_pl.core.output_tables import json_text
from resgat_pl.core.path_checks import require_folder
from resgat_pl.core.storage import write_atomic
from resgat_pl.explain.study.answers import COLUMNS, analyse, read_answers, read_key, report
from resgat_pl.explain.study.items import read_items
from resgat_pl.explain.study.pages import KEY, VERSION, Condition, write_study

_MOST: Final = 1000


def study(
    action: Literal["make", "score"],
    folder: Path,
    out: Path | None = None,
    truth: Path | None = None,
    participants: int = 24,
    conditions: str = "none,map",
    consent: Path | None = None,
    answers: Path | None = None,
    seed: int = 0,
) -> str:
    """Make the pages of a user study of the maps, or analyse its answers.

    The steps: resgat explain judges files of which you know the truth; ``make`` writes one page for each participant
    and key.json, which stays with you; each participant opens one page, agrees to the text, judges every face and saves
    a CSV file; ``score`` reads these files. The page loads and sends nothing, and its answers hold no personal data but
    the number of the page. A page shows each face once, in one condition: none (the face alone), map (the face and its
    map), or report (map, verdict and words). Orders are random, and each face is seen equally often in each condition.

    Args:
        action: ``make`` or ``score``.
        folder: For make what ``resgat explain`` wrote, with reports; for score what make wrote.
        out: Folder for the pages (make: study), or for study.md and study.json (score: ``folder``).
        truth: For make: CSV file with the columns file, as in scores.csv, and label, fake or real.
        participants: For make: pages to write, best a multiple of the number of conditions.
        conditions: For make: none, map or report, separated by commas; the first is what others are compared with.
        consent: For make: text file to agree to, instead of the short one that is there; {minutes} is filled in. Your
            ethics board decides what it must say.
        answers: For score: folder with the files that participants saved; null for the folder answers in ``folder``.
        seed: Of orders, and of the intervals.

    Returns:
        The pages written, or the analysis as Markdown.
    """
    other = {"truth": truth, "consent": consent} if action == "score" else {"answers": answers}
    if unused := [name for name, value in other.items() if value is not None]:
        raise ConfigError(f"--{unused[0]} is not for resgat study {action}: leave it out.")
    if action == "score":
        return _score(folder, folder if out is None else out, folder / "answers" if answers is None else answers, seed)
    if truth is None:
        raise ConfigError("resgat study make needs --truth: a CSV file with the columns file and label (fake or real).")
    if not 1 <= participants <= _MOST:
        raise ConfigError(f"--participants is {participants}; it must be 1 to {_MOST}.")
    chosen = _conditions(conditions)
    out = Path("study") if out is None else out
    require_folder(out, "--out")
    if (out / KEY).exists():
        raise ConfigError(f"{out} holds a study already, whose pages may be with participants: choose another --out.")
    try:
        text = None if consent is None else consent.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--consent {consent} cannot be read: {error}") from None
    items = read_items(folder, truth)
    pages = write_study(items, chosen, participants, seed, out, text)
    lines = [
        f"{len(pages)} pages of {len(items)} faces in {out}: {pages[0].name} to {pages[-1].name}, one a participant.",
        f"{out / KEY} holds the truth and stays with you. Put what comes back into {out / 'answers'}, then:",
        f"resgat study score {out}",
    ]
    if participants % len(chosen):
        lines.append(f"{participants} is no multiple of {len(chosen)}: conditions are unequally frequent for a face.")
    return "\n".join(lines)


def _score(folder: Path, out: Path, answers: Path, seed: int) -> str:
    key = read_key(folder)
    paths = sorted(answers.glob("*.csv")) if answers.is_dir() else [answers]
    if not paths or not paths[0].exists():
        raise ConfigError(f"{answers} has no CSV files: put there what participants saved ({', '.join(COLUMNS)}).")
    found, notes = read_answers(key, paths)
    estimates = analyse(found, key["conditions"], seed)
    text = report(estimates, found, notes)
    document = {
        **stamp(VERSION),
        "study": key["study"],
        "participants": len(set(found.person.tolist())),
        "answers": len(found.said),
        "notes": notes,
        "estimates": estimates,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "study.md", (text + "\n").encode())
    write_atomic(out / "study.json", json_text(document).encode())
    return text


def _conditions(given: str) -> Sequence[Condition]:
    known: tuple[Condition, ...] = get_args(Condition)
    names = [name.strip() for name in given.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--conditions names {unknown[0]!r}; there are {', '.join(known)}.")
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"--conditions is {given!r}: give two or three different ones of {', '.join(known)}.")
    return [condition for name in names for condition in known if condition == name]
