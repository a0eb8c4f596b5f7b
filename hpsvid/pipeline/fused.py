"""The landmark network's evidence and the dense maps', each weighed by its doubt.

One follower, and the landmark network runs once a look: the lifter reads its landmarks and inner
maps, the dense network its inner maps, heatmaps and the crop's pixels. Both give joints with a
standard deviation; as they read the same network their errors go together, and the mean of least
variance says how little the worse one adds then.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hpsvid.backbone import Network
from hpsvid.backbone.dense_maps import DenseBackbone, DenseMaps
from hpsvid.backbone.lifting import BlazePoseBackbone
from hpsvid.body.model import Body
from hpsvid.common.records import take_frames
from hpsvid.options import Options
from hpsvid.types import Array, Camera, Frames, Observations, Source, Track

DENSE_OUTPUTS = 7  # of `DenseMaps`, before what it passes on of the landmark network
MARK_OUTPUTS = 4  # of these
TOGETHER = 0.5  # correlation of the two networks' errors of a joint
# By how much more than the lifter the dense network is surer of real people than it may be. Chosen
# on bodypose3d and a view of caliscope, PA-MPJPE 44.4 and 50.4 mm at 1, 43.9 and 48.8 at 1.5 and
# at 2.
SURER = 1.5


class FusedBackbone:
    """`hpsvid.backbone.Backbone` by landmarks and dense maps; WeightsError without a network."""

    def __init__(
        self, tracks: Sequence[Track], camera: Camera, body: Body, options: Options
    ) -> None:
        self._maps = DenseMaps(body, options.threads, options.device)
        self._landmarks = BlazePoseBackbone(tracks, camera, body, options)
        self._dense = DenseBackbone(tracks, camera, body, options, maps=self._maps)
        self.network: Network = self._answer
        self._frame: list[tuple[Array, tuple[Array, ...]]] = []  # crops, and what was said
        self._landmarks.network = lambda crops: self._told(crops)[DENSE_OUTPUTS:]
        self._dense.network = lambda crops: self._told(crops)[: DENSE_OUTPUTS + MARK_OUTPUTS]

    @property
    def provenance(self) -> Source:
        """Name and sha256 of the dense network, and of the landmark network that it reads."""
        marks = self._landmarks.provenance
        return self._dense.provenance | {
            "name": "fused", "landmarks": marks["name"], "landmarks_sha256": marks["sha256"],
            "looks_hz": marks["looks_hz"],
        }  # fmt: skip

    def _answer(self, crops: Array) -> tuple[Array, ...]:
        """What `DenseMaps` says of crops, and what the lifter reads of the inner maps."""
        return self._maps.with_inner(crops, self._landmarks.reader)

    def _told(self, crops: Array) -> tuple[Array, ...]:
        """The network's answer; both followers ask about the same crops of a frame."""
        for asked, answer in self._frame:
            if np.array_equal(asked, crops):
                return answer
        answer = self.network(crops)
        self._frame.append((crops, answer))
        return answer

    def observe(self, frames: Frames) -> None:
        """Look at the next frames of the clip."""
        for place in range(len(frames)):
            frame = take_frames(frames, slice(place, place + 1))
            self._frame.clear()
            self._landmarks.observe(frame)
            self._dense.observe(frame)

    def observations(self) -> list[Observations]:
        """Each track's, over the frames in which the landmark network saw the person."""
        pairs = zip(self._landmarks.observations(), self._dense.observations(), strict=True)
        return [fused(marks, dense) for marks, dense in pairs]


def fused(marks: Observations, dense: Observations) -> Observations:
    """The landmark network's observations with their joints drawn to the dense ones.

    dense: of all the frames of `marks`, or more. Of two unbiased readings with the correlation
    TOGETHER the mean of least variance; a share below nothing is nothing.
    """
    start = int(marks.frame_index[0] - dense.frame_index[0])
    dense = take_frames(dense, slice(start, start + len(marks)))
    a, b = marks.sigma.astype(np.float64), SURER * dense.sigma.astype(np.float64)
    shared = TOGETHER * a * b
    share = ((a**2 - shared) / (a**2 + b**2 - 2 * shared)).clip(0, 1)
    share = np.where((marks.valid & dense.valid)[:, None], share, 0.0)
    variance = (1 - share) ** 2 * a**2 + share**2 * b**2 + 2 * share * (1 - share) * shared
    joints = marks.joints + share[..., None] * (dense.joints - marks.joints)
    return replace(
        marks,
        joints=joints.astype(np.float32),
        sigma=np.sqrt(variance).astype(np.float32),
        crops=dense.crops,
        masks=dense.masks,
        places=dense.places,
    )
