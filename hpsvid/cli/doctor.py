"""`hpsvid doctor`: what is installed, which weights and bodies were found, what to do."""

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, Literal

from rich.console import Console

import hpsvid
from hpsvid.common.tables import Column, Table
from hpsvid.common.threads import usable_cores
from hpsvid.common.weights import imported_dir, imported_source, read_manifest, weights_path
from hpsvid.errors import HpsvidError, one_line

MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL"}  # whose name differs
UNTRIED = {"pyrender"}  # its import needs OpenGL; "renderer pyrender" tries it
GROUPS = {"all", "dev"}  # extras that gather others, or are for developers

State = Literal["ok", "absent", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report; `absent` is a choice, `broken` needs mending."""

    part: str
    state: State
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for --json."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything; never raises for what it finds."""
    findings = [
        Finding(part="hpsvid", state="ok", found=hpsvid.__version__),
        Finding(part="python", state="ok", found=sys.version.split()[0]),
        _system(platform.system()),
    ]
    raster = _raster()  # loads what `_pyrender` needs: no two threads import at once
    with ThreadPoolExecutor(1) as beside:
        pyrender = beside.submit(_pyrender)  # waits for processes that try OpenGL
        findings += _packages()
        findings += [_torch_device(), _onnx_providers()]
        findings += [*_weights(), *_imported()]
        findings += [_smpl(), raster, pyrender.result(), _ffmpeg()]
    return findings


def show(findings: list[Finding]) -> None:
    """Print the findings as a table on stdout."""
    colours = {"ok": "green", "absent": "yellow", "broken": "red"}
    table = Table(
        [Column("part", align="left"), Column("state", align="left", colours=colours),
         Column("found", align="left"), Column("what to do", align="left")],
        [(finding.part, finding.state, finding.found, finding.advice) for finding in findings],
    )  # fmt: skip
    Console().print(table.rich())


def _packages() -> list[Finding]:
    """The packages that hpsvid's installation names: required ones, then those of each extra."""
    try:
        lines = requires("hpsvid") or []
    except PackageNotFoundError:
        advice = "pip install . in the source tree, to have its packages checked"
        return [Finding(part="packages", state="absent", found="not installed", advice=advice)]
    core, extras = [], {}
    for line in lines:  # such as: ray>=2.40; extra == 'ray'
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra == ['\"]([\w-]+)", marker)
        if name and not marker:
            core.append(name[0])
        elif name and extra and extra[1] not in GROUPS:
            extras[name[0]] = extra[1]
    return [_package(name) for name in core] + [_extra(*item) for item in extras.items()]


def _package(name: str) -> Finding:
    try:
        found = version(name)
        if name not in UNTRIED:
            importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    except PackageNotFoundError:
        return Finding(
            part=name, state="broken", found="not installed", advice=f"pip install {name}"
        )
    except Exception as error:  # a library that does not fit raises anything
        advice = f"pip install --force-reinstall {name}"
        return Finding(
            part=name, state="broken", found=f"cannot be imported: {one_line(error)}", advice=advice
        )
    return Finding(part=name, state="ok", found=found)


def _extra(name: str, extra: str) -> Finding:
    if importlib.util.find_spec(name.replace("-", "_")) is None:
        advice = f"optional: pip install 'hpsvid[{extra}]' (docs/install.md)"
        return Finding(part=name, state="absent", found="not installed", advice=advice)
    return Finding(part=name, state="ok", found=version(name))


def _guarded(part: str, look: Callable[[], str], *, otherwise: State) -> Finding:
    try:
        return Finding(part=part, state="ok", found=look())
    except Exception as error:  # HpsvidError, or a package that its own row reports
        return Finding(part=part, state=otherwise, found="not usable", advice=one_line(error))


def _torch_device() -> Finding:
    try:
        import torch
    except Exception as error:
        return Finding(part="torch device", state="broken", found="none", advice=one_line(error))

    if torch.cuda.is_available():
        return Finding(part="torch device", state="ok", found=torch.cuda.get_device_name(0))
    return Finding(
        part="torch device", state="ok", found=f"CPU, {usable_cores()} cores",
        advice="a GPU is optional: docs/install.md, GPU",
    )  # fmt: skip


def _onnx_providers() -> Finding:
    def look() -> str:
        import onnxruntime

        return ", ".join(onnxruntime.get_available_providers())

    return _guarded("onnxruntime providers", look, otherwise="broken")


def _weights() -> list[Finding]:
    try:
        names = sorted(read_manifest())
    except HpsvidError as error:
        return [Finding(part="weights", state="broken", found="no manifest", advice=str(error))]
    return [
        _guarded(f"weights {name}", lambda name=name: weights_path(name).name, otherwise="broken")
        for name in names
    ]


def _imported() -> list[Finding]:
    def look(name: str) -> str:
        source = imported_source(name)
        return f"{source['file']}, sha256 {source['sha256'][:12]}…"

    names = sorted(path.stem for path in imported_dir().glob("*.safetensors"))
    if not names:
        advice = "optional: hpsvid weights import FILE"
        return [Finding(part="imported weights", state="absent", found="none", advice=advice)]
    return [
        _guarded(f"imported {name}", lambda name=name: look(name), otherwise="broken")
        for name in names
    ]


def _smpl() -> Finding:
    def look() -> str:
        from hpsvid.body.smpl import find_smpl, load_smpl

        path = find_smpl(None)
        return "none; the free body is used" if path is None else f"{load_smpl(path).name}: {path}"

    return _guarded("SMPL file ($HPSVID_SMPL)", look, otherwise="broken")


def _raster() -> Finding:
    def look() -> str:
        from hpsvid.render import load_renderer

        return load_renderer("raster").name

    return _guarded("renderer raster", look, otherwise="absent")


def _pyrender() -> Finding:
    def look() -> str:
        from hpsvid.render.gl import working_platform

        return f"OpenGL by {working_platform()}"

    return _guarded("renderer pyrender", look, otherwise="absent")


def _system(name: str) -> Finding:
    """What is known of hpsvid on this operating system."""
    if name == "Linux":
        return Finding(part="system", state="ok", found="Linux, where hpsvid is tested")
    return Finding(
        part="system", state="absent", found=f"{name or 'unknown'}: hpsvid was never tested here",
        advice="nothing in it needs Linux as far as its checks can tell; run `pytest` of a source "
        "tree, and report what fails",
    )  # fmt: skip


def _ffmpeg() -> Finding:
    try:
        import imageio_ffmpeg

        path = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        return Finding(
            part="ffmpeg", state="broken", found=one_line(error),
            advice="pip install --force-reinstall imageio-ffmpeg",
        )  # fmt: skip
    return Finding(part="ffmpeg", state="ok", found=os.path.basename(path))
