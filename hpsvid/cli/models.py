"""Commands about networks and the installation: train, weights, doctor."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hpsvid.cli.shell import ForceOpt, JsonOpt, names_in, one_line_errors, refuse_idle
from hpsvid.errors import InputError
from hpsvid.options import ModelName, PartName, SizeName


def train(
    context: typer.Context,
    model: Annotated[ModelName, typer.Argument(help="What to train.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with train/ and val/: motion capture; for lifter, dense and uv, renders."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Weights to write, .safetensors.")],
    folder: Annotated[
        Path | None, typer.Option(help="Checkpoints and log (default: beside --out); resumed.")
    ] = None,
    size: Annotated[SizeName, typer.Option(help="full is for a GPU.")] = "small",
    minutes: Annotated[float | None, typer.Option(help="Stop after so long.", min=0.1)] = None,
    steps: Annotated[int, typer.Option(help="Stop after so many steps.", min=1)] = 2000,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Lifted renders (tools.people.lift_pairs, dense_pairs): half a batch."),
    ] = None,
    without: Annotated[
        str, typer.Option(help="Parts of NIKI to leave out: ind,bnd,bidirectional,analytic.")
    ] = "",
    loss: Annotated[
        str, typer.Option(help="Weights of NIKI's losses: fwd=0.1,acceleration=1,...")
    ] = "",
    mocap: Annotated[
        Path | None, typer.Option(help="For lifter and uv: motion to simulate what is seen for.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Weights of the same network to go on from (not lifter).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 0,
    force: ForceOpt = False,
) -> None:
    """Train a solver, the lifter, dense maps or UV inpainting; an interrupted run is resumed."""
    with one_line_errors():
        from hpsvid.common.files import check_folder
        from hpsvid.training.loop import FitConfig, TrainingFiles, check_files
        from hpsvid.training.solvers import Recipe, loss_weights, train_solver

        if out.suffix != ".safetensors":
            raise InputError(f"{out}: suffix {out.suffix!r}; expected .safetensors")
        check_folder(out.parent)
        if model == "lifter":
            refuse_idle(context, "on the lifter", "pairs", "without", "loss", "start")
        elif model == "dense":
            refuse_idle(context, "on the dense maps", "pairs", "without", "loss", "mocap")
        elif model == "uv":
            refuse_idle(context, "on UV inpainting", "pairs", "without", "loss")
        else:
            refuse_idle(context, f"on {model}", "mocap")
        if not model.startswith("niki"):
            refuse_idle(context, f"on {model}, which is not NIKI", "without", "loss")
        files = TrainingFiles(data=data, out=out, folder=folder or out.with_suffix(""))
        check_files(files, force=force)
        out.parent.mkdir(parents=True, exist_ok=True)
        if model == "lifter":
            from hpsvid.training.lifter import train_lifter

            scores = train_lifter(
                files, mocap=mocap, size=size, seed=seed, steps=steps, minutes=minutes
            )
        elif model == "dense":
            from hpsvid.training.dense import SIZES, train_dense

            scores = train_dense(
                files, config=SIZES[size], seed=seed, steps=steps, minutes=minutes, start=start
            )
        elif model == "uv":
            from hpsvid.training import uv

            length = FitConfig(steps=steps, minutes=minutes)
            scores = uv.train_uv(
                files, config=uv.SIZES[size], length=length, mocap=mocap, seed=seed, start=start
            )
        else:
            recipe = Recipe(
                solver=model,
                size=size,
                seed=seed,
                fit=FitConfig(steps=steps, minutes=minutes),
                loss=loss_weights(loss),
                without=names_in(without, PartName, "--without") if without else (),
            )
            scores = {"mean MPJPE (mm)": train_solver(recipe, files, pairs, start)}
        told = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        print(f"wrote {out}; validation {told}; log in {files.folder}")


weights_app = typer.Typer(help="Weights of other people's networks.", no_args_is_help=True)


@weights_app.command("import")
def import_weights(
    file: Annotated[
        Path, typer.Argument(help="niki_ts.pth, niki_1stage.pth, hybrik_hrnet.pth, ...")
    ],
) -> None:
    """Check a checkpoint of NIKI's or HybrIK's authors and keep what `run` needs of it."""
    with one_line_errors():
        from hpsvid.official.importing import import_weights as bring_in

        kind, written = bring_in(file)
        print(f"{kind}: wrote {written}")


def doctor(as_json: JsonOpt = False) -> None:
    """Say what is installed, which weights and body models were found, and what to mend."""
    with one_line_errors():
        from hpsvid.cli.doctor import examine, show

        findings = examine()
        if as_json:
            print(json.dumps([finding.as_dict() for finding in findings], indent=2))
        else:
            show(findings)
        if any(finding.state == "broken" for finding in findings):
            raise typer.Exit(1)
