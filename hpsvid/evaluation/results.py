"""Which saved results and clips belong to which truth, and how far each of them is from it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hpsvid.body.model import Body
from hpsvid.body.smpl import find_smpl, load_chosen_body
from hpsvid.common.files import read_npz
from hpsvid.edit import check_body
from hpsvid.errors import InputError
from hpsvid.evaluation.errors import Errors, compare
from hpsvid.evaluation.threedpw import read_sequence
from hpsvid.evaluation.truth import Truth, read_truth
from hpsvid.formats.npz import read_motion
from hpsvid.options import Options, SolverName
from hpsvid.pipeline.make import make_motion
from hpsvid.pipeline.stages import Progress, StageClock
from hpsvid.types import Motion
from hpsvid.video.probe import open_clip


def is_truth(data: Path) -> bool:
    """Whether a file or folder is truth to measure motions against, and not motion capture."""
    first = truth_files(data)[0]
    return first.suffix == ".pkl" or "poses" not in read_npz(first, "truth", ("poses",))


def truth_files(data: Path) -> list[Path]:
    """The files of truth in a folder at any depth, or the file itself.

    Raises InputError when there is none.
    """
    if data.is_file():
        return [data]
    files = sorted(path for kind in ("*.pkl", "*.npz") for path in data.rglob(kind))
    if not files:
        raise InputError(f"{data}: holds no truth; expected .npz files, or 3DPW's sequences (.pkl)")
    return files


def read_truths(path: Path, body: Body, smpl: Path | None) -> tuple[Truth, ...]:
    """The truth in a file of any kind that is known: 3DPW's .pkl, or an .npz.

    smpl: the user's neutral SMPL file, for 3DPW.
    """
    return (read_sequence(path, smpl),) if path.suffix == ".pkl" else read_truth(path, body)


def results_for(truth: Truth, given: Sequence[Path], *, alone: bool) -> list[Path]:
    """Which of the user's files belong to this truth: saved results, or clips to make them from.

    A folder's files belong to it when their name begins or ends with the truth's. A file belongs
    to the only truth there is (`alone`), to others by its name. Without any file it is the clip
    that the truth itself names.
    """
    if not given:
        return [] if truth.clip is None else [truth.clip]
    results = []
    for path in given:
        if path.is_dir():
            results += [p for p in sorted(path.glob("*.npz")) if belongs(p, truth)]
        elif not path.exists():
            raise InputError(
                f"{path}: no such file; expected a result .npz, a clip or a folder of results"
            )
        elif alone or belongs(path, truth):
            results.append(path)
    return results


def is_result(path: Path) -> bool:
    """Whether a file is a saved result, which is measured as it is; others are clips to solve."""
    return path.suffix == ".npz"


def solves_clips(given: Sequence[Path]) -> bool:
    """Whether `evaluate_motions` solves any clip: one of the user's, or, without any, the truth's.

    A folder among `given` is a folder of saved results.
    """
    return not given or any(not is_result(path) and not path.is_dir() for path in given)


def belongs(path: Path, truth: Truth) -> bool:
    """Whether a file is of this truth's clip: its name begins or ends with the truth's."""
    parts, name = path.stem, truth.name
    return parts == name or parts.startswith(f"{name}_") or parts.endswith(f"_{name}")


def evaluate_motions(
    data: Path,
    given: Sequence[Path],
    solvers: Sequence[SolverName],
    *,
    smpl: Path | None,
    progress: Progress,
    options: Options | None = None,
) -> Iterator[tuple[Truth, Motion, list[Errors]]]:
    """Every result against its truth.

    data: a file or folder of truth; given: results, clips or folders of results (none: the clips
    that the truth names); solvers, options: what makes motions of clips. Raises InputError when
    a truth has no result, or a result was made with another body.
    """
    body = load_chosen_body(smpl)
    files = truth_files(data)
    makers = [replace(options or Options(), solver=solver) for solver in solvers]
    for path in files:
        truths = read_truths(path, body, find_smpl(smpl))
        alone = len(files) == len(truths) == 1
        results = [(truth, p) for truth in truths for p in results_for(truth, given, alone=alone)]
        if not results:
            where = ", ".join(map(str, given)) or "the clip that it names"
            raise InputError(
                f"{path}: no result for it in {where}; expected a file whose name begins or ends "
                f"with {' or '.join(truth.name for truth in truths)}"
            )
        seen: set[tuple[str, str]] = set()
        for truth, result in results:
            for method, motion in _motions(result, makers, body, progress):
                label = method if (result.stem, method) not in seen else str(result.parent)
                seen.add((result.stem, method))
                yield truth, motion, compare(motion, truth, body, clip=result.stem, method=label)


def _motions(
    path: Path, makers: Sequence[Options], body: Body, progress: Progress
) -> Iterator[tuple[str, Motion]]:
    """(method, motion): the saved one, or one made with each of the options."""
    if is_result(path):
        motion = read_motion(path)
        check_body(motion, body)
        # a stranger's result may name any file of this machine; only a clip beside it is its own
        clip = replace(motion.clip, path=path.parent / motion.clip.path.name)
        yield motion.provenance.solver or path.stem, replace(motion, clip=clip)
        return
    for options in makers:
        made = make_motion(open_clip(path, options), body, options, StageClock(progress))
        yield options.solver, made
