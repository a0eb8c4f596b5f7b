"""The names a user can choose from, once, as Literals; importing this costs nothing."""

from typing import Literal

LifterName = Literal["learned", "geometric"]
SolverName = Literal["hybrik", "hybrik-naive", "niki-temporal", "niki", "niki-one-stage"]
ModelName = Literal["niki-temporal", "niki", "niki-one-stage", "mlp"]
SizeName = Literal["small", "full"]
RendererName = Literal["auto", "raster", "pyrender"]
FormatName = Literal["npz", "bvh", "amass"]
RigName = Literal["smpl", "hik", "mixamo", "cmu"]
