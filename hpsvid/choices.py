"""The names a user can choose from, once, as Literals; importing this costs nothing."""

from typing import Literal

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
