"""(Frames, Tracks) -> Landmarks -> Observations: what is seen of each person."""

from hpsvid.backbone.blazepose import BlazePose, Variant

__all__ = ["BlazePose", "Variant"]
