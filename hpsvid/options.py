"""Every choice a user has, once: names as Literals, and the records that carry the choices."""

from dataclasses import dataclass
from typing import Literal, get_args

from hpsvid.errors import InputError

BackboneName = Literal["blazepose", "hybrik"]
LifterName = Literal["learned", "geometric"]
SolverName = Literal[
    "hybrik", "hybrik-naive", "ikol", "niki-temporal", "niki", "niki-one-stage", "gik"
]
WeightsName = Literal["hpsvid", "official"]
ModelName = Literal["lifter", "niki-temporal", "niki", "niki-one-stage", "gik", "mlp"]
PartName = Literal["ind", "bnd", "bidirectional", "analytic"]
SizeName = Literal["small", "full"]
RendererName = Literal["auto", "raster", "pyrender"]
FormatName = Literal["npz", "bvh", "amass"]
RigName = Literal["smpl", "hik", "mixamo", "cmu"]
EngineName = Literal["processes", "ray"]
MAX_FPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The user's wishes about a file. Raises InputError when a value cannot be used."""

    fps: int | None = None  # Hz, evenly resampled; None: the clip's own rate
    rig: RigName = "smpl"  # whose joint names

    def __post_init__(self) -> None:
        if self.rig not in get_args(RigName):
            raise InputError(f"--rig {self.rig!r}: expected {', '.join(get_args(RigName))}")
        if self.fps is not None and not 1 <= self.fps <= MAX_FPS:
            raise InputError(f"--fps {self.fps}: expected 1 to {MAX_FPS}; most tools take 30 or 60")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a motion is made."""

    detector: str = "embedded"
    backbone: BackboneName = "blazepose"
    lifter: LifterName = "geometric"
    solver: SolverName = "niki-temporal"
    weights: WeightsName = "hpsvid"
    fast: bool = False
    focal_px: float | None = None
    person: int | None = None
    max_people: int | None = None
    threads: int | None = None
