"""The authors' HybrIK networks as a backbone: every track's crops to joints, twists and shapes.

Li et al., CVPR 2021, as in their code (9b8681d), for checkpoints that a user brings: crop, colours,
the camera of a crop and the second look for its scale are theirs. They speak of SMPL's skeleton.
"""

from collections.abc import Sequence
from dataclasses import fields

import cv2
import numpy as np
import torch
from scipy.ndimage import maximum_filter1d
from torch import Tensor, nn

from hpsvid.backbone import Network
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, LIMB_JOINTS, LIMB_LANDMARKS, SMPL
from hpsvid.common.geometry import rotation_about, swing_between, unit
from hpsvid.common.threads import thread_count, torch_threads
from hpsvid.common.weights import imported_path, imported_source, load_imported
from hpsvid.errors import InputError
from hpsvid.official.hybrik_network import (
    DEPTH_M,
    HybrIKHRNet,
    HybrIKResNet,
    Prediction,
    predict,
)
from hpsvid.options import Options
from hpsvid.types import (
    N_BETAS,
    N_JOINTS,
    N_LANDMARKS,
    N_TWISTS,
    Array,
    Camera,
    Frames,
    Observations,
    Source,
    Track,
)

SIDE = 256  # px, of a crop
MARGIN = 1.25  # crop side over the box's longer side
FOCAL = 1000 / SIDE  # of the camera that the networks were trained with, in crop sides
# Of R, G and B, in [0, 1]. The released code has ImageNet's in the order of B, G, R.
COLOUR_MEAN = (0.406, 0.457, 0.480)
COLOUR_SPREAD = (0.225, 0.224, 0.229)
DISTRUST = 10.0  # by which a sigma lowers a joint's weight of 1 when the scale is solved
UNSEEN_SIGMA_M = 1.0
MAX_CROPS = 8  # at a time: 0.6 GB of volumes

CHEST = JOINT["spine3"]
_SAID = tuple(field.name for field in fields(Prediction))


def square_around(boxes: Array) -> tuple[Array, Array]:
    """Centre (N, 2) px and side (N,) px of the crops for boxes (N, 4) x0 y0 x1 y1 px."""
    size = boxes[:, 2:] - boxes[:, :2]
    return (boxes[:, :2] + boxes[:, 2:]) / 2, MARGIN * np.maximum(size.max(1), 1.0)


def cut(rgb: Array, centre: Array, side: float) -> Tensor:
    """A crop (3, 256, 256) as the networks want it, black outside the picture.

    rgb: (H, W, 3) uint8; centre: (2,) px from the corner of the picture; side: px.
    """
    zoom = SIDE / side
    shift = SIDE / 2 - zoom * (centre - 0.5)  # cv2 counts from pixel centres
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    crop = cv2.warpAffine(rgb, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    colours = (crop.astype(np.float32) / 255 - COLOUR_MEAN) / COLOUR_SPREAD
    return torch.from_numpy(colours.astype(np.float32)).permute(2, 0, 1)


def back_project(uvd: Tensor, offset: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, 29, 3) to metres in camera axes: relative to the pelvis, and the pelvis (N, 3).

    offset: (N, 2) from the principal point to the crop's middle, in crop sides; scale: (N,) crop
    sides in a metre at depth 0, which thus is FOCAL / scale metres away.
    """
    away = uvd[..., 2:] * DEPTH_M + (FOCAL / scale)[:, None, None]
    points = torch.cat([(uvd[..., :2] + offset[:, None]) / FOCAL * away, away], -1)
    return points - points[:, :1], points[:, 0]


def second_scale(
    uvd: Tensor, offset: Tensor, scale: Tensor, sigma: Tensor, twist: Tensor, rest: Tensor
) -> Tensor:
    """The scale (N,) at which a body of the predicted shape falls best on the joints seen.

    The body takes up the pose that `scale` gives; then its distance alone is solved by linear
    least squares over its 24 joints, while its pelvis stays where `scale` puts it sideways.
    sigma: (N, 29); twist: (N, 23, 2); rest: (N, 29, 3) m. Not in the paper.
    """
    joints, pelvis = back_project(uvd, offset, scale)
    near = pelvis - (FOCAL / scale)[:, None] * torch.tensor([0.0, 0, 1])
    points = _naive_figure(joints, rest, twist) + near[:, None]
    weight = (1 - DISTRUST * sigma[:, : SMPL.n_rotations, None]).clamp_min(0)
    image = weight * (uvd[:, : SMPL.n_rotations, :2] + offset[:, None])
    # x = image / FOCAL * (z + FOCAL / scale)
    wanted = weight * points[..., :2] - image / FOCAL * points[..., 2:]
    solved = (image * image).sum((1, 2)) / (image * wanted).sum((1, 2))
    return torch.where(solved.isfinite() & (solved > 0), solved, scale)


def _naive_figure(joints: Tensor, rest: Tensor, twist: Tensor) -> Tensor:
    """The 24 joints (N, 24, 3) m, the pelvis at zero, of HybrIK's naive IK (Alg. 1) and FK.

    Every bone points as seen. Only the bones beside another one, those to hips and collars, need a
    rotation: the pelvis's turns the spine as seen, then the middle of the hips about it.
    """
    bones = {c: rest[:, c] - rest[:, SMPL.parents[c]] for c in range(1, SMPL.n_rotations)}
    aims = {c: joints[:, c] - joints[:, SMPL.parents[c]] for c in range(1, SMPL.n_rotations)}
    left, right, above = (JOINT[name] for name in ("left_hip", "right_hip", "spine1"))
    swing = swing_between(bones[above], aims[above])
    axis = unit(aims[above])
    turned = _turn((swing @ (bones[left] + bones[right])[..., None])[..., 0], axis)
    wanted = _turn(aims[left] + aims[right], axis)
    cos = (turned * wanted).sum(-1)
    sin = (torch.linalg.cross(turned, wanted) * axis).sum(-1)
    rotation = {0: rotation_about(axis, cos, sin) @ swing}
    for joint, child in (
        (above, JOINT["spine2"]),
        (JOINT["spine2"], CHEST),
        (CHEST, JOINT["neck"]),
    ):
        cos, sin = nn.functional.normalize(twist[:, joint - 1], dim=-1).unbind(-1)
        bone, parent = bones[child], rotation[SMPL.parents[joint]]
        aimed = swing_between(bone, (parent.mT @ aims[child][..., None])[..., 0])
        rotation[joint] = parent @ aimed @ rotation_about(unit(bone), cos, sin)
    placed = [torch.zeros_like(joints[:, 0])]
    for child in range(1, SMPL.n_rotations):
        parent = SMPL.parents[child]
        if parent in (0, CHEST):
            bone = (rotation[parent] @ bones[child][..., None])[..., 0]
        else:
            bone = unit(aims[child]) * bones[child].norm(dim=-1, keepdim=True)
        placed.append(placed[parent] + bone)
    return torch.stack(placed, 1)


def _turn(vector: Tensor, axis: Tensor) -> Tensor:
    """Direction (N, 3) of the part of `vector` that is orthogonal to the unit vector `axis`."""
    return unit(vector - (vector * axis).sum(-1, keepdim=True) * axis)


def network_name(*, fast: bool) -> str:
    """The network to use: HRNet-W48, or if `fast` ResNet-34, which takes 0.4 of its time.

    Where only one of them was imported, that one.
    """
    names = ("hybrik_res34", "hybrik_hrnet") if fast else ("hybrik_hrnet", "hybrik_res34")
    return next((name for name in names if imported_path(name).is_file()), names[0])


def check_official(body: Body, options: Options) -> None:
    """Refuse, before any work, to run the authors' networks without a SMPL body or weights.

    Their shapes are SMPL's, which mean nothing on another body, and their twists and rotations
    are about its rest pose: on another the person would come out bent, and nobody would know.
    Raises InputError, WeightsError.
    """
    if body.free and (options.backbone == "hybrik" or options.weights == "official"):
        raise InputError(
            f"body {body.name}: the authors' networks (--backbone hybrik, --weights official) "
            "speak of SMPL's skeleton; give your own SMPL file with --smpl or $HPSVID_SMPL"
        )
    if options.backbone == "hybrik":
        imported_source(network_name(fast=options.small_network))


class HybrIKBackbone:
    """`hpsvid.backbone.Backbone` by the authors' networks, which look at every frame.

    body: a SMPL body of the user's own. Raises WeightsError when no network was imported.
    """

    def __init__(
        self, tracks: Sequence[Track], camera: Camera, body: Body, options: Options
    ) -> None:
        self.name = network_name(fast=options.small_network)
        self._threads = thread_count(options.threads)
        with torch.device("meta"):
            self._net = HybrIKHRNet() if self.name == "hybrik_hrnet" else HybrIKResNet()
        self._source = load_imported(self._net, self.name)
        self._net.eval()
        self.network: Network = self._answer
        self._camera, self._body = camera, body
        self._tracks = list(tracks)
        self._observations = [_blank(track) for track in tracks]

    @property
    def provenance(self) -> Source:
        """Name of the network, name and sha256 of the checkpoint it came from."""
        return {"name": self.name, **self._source}

    def observe(self, frames: Frames) -> None:
        """Look at the next frames of the clip."""
        with torch_threads(self._threads):
            for rgb, index in zip(frames.rgb, frames.index, strict=True):
                alive = [
                    (obs, track, int(index - track.frame_index[0]))
                    for obs, track in zip(self._observations, self._tracks, strict=True)
                    if track.frame_index[0] <= index <= track.frame_index[-1]
                ]
                for i in range(0, len(alive), MAX_CROPS):
                    self._look(rgb, alive[i : i + MAX_CROPS])

    def observations(self) -> list[Observations]:
        """Each track's over its full length; frames that no detection is next to are not valid."""
        return self._observations

    def _answer(self, crops: Array) -> tuple[Array, ...]:
        """What the network says about crops (N, 3, 256, 256): the fields of a Prediction."""
        said = predict(self._net, torch.from_numpy(crops))
        return tuple(getattr(said, name).numpy() for name in _SAID)

    def _look(self, rgb: Array, places: list[tuple[Observations, Track, int]]) -> None:
        """Fill in what the network says about some tracks' boxes in one picture."""
        boxes = np.stack([track.boxes[place] for _, track, place in places])
        centre, side = square_around(boxes)
        K = self._camera.K
        crops = torch.stack([cut(rgb, c, s) for c, s in zip(centre, side, strict=True)])
        offset = torch.from_numpy((centre - K[:2, 2]) / side[:, None]).float()
        with torch.inference_mode():
            said = map(torch.from_numpy, self.network(crops.numpy()))
            answer = Prediction(**dict(zip(_SAID, said, strict=True)))
            scale = answer.scale
            if isinstance(self._net, HybrIKHRNet):
                rest = self._body.rest_joints(answer.betas)
                scale = second_scale(answer.uvd, offset, scale, answer.sigma, answer.twist, rest)
            joints, _ = back_project(answer.uvd, offset, scale)
        image = answer.uvd[..., :2].numpy() * side[:, None, None] + centre[:, None]
        # the network's camera is not ours: what they share is the size that a metre has in pixels
        away = K[0, 0] / (side * scale.numpy()) + answer.uvd[:, 0, 2].numpy() * DEPTH_M
        ray = np.concatenate([(image[:, 0] - K[:2, 2]) / K[0, 0], np.ones((len(image), 1))], 1)
        sure = (1 - DISTRUST * answer.sigma).clamp_min(0).numpy()
        for i, (obs, _, place) in enumerate(places):
            obs.joints[place] = joints[i].numpy()
            obs.sigma[place] = DEPTH_M * answer.sigma[i].numpy()
            obs.twist[place] = answer.twist[i].numpy()
            obs.betas[place] = answer.betas[i].numpy()
            obs.landmarks2d[place, LIMB_LANDMARKS, :2] = image[i, LIMB_JOINTS]
            obs.landmarks2d[place, LIMB_LANDMARKS, 2] = sure[i, LIMB_JOINTS]
            obs.pelvis[place] = away[i] * ray[i]


def _blank(track: Track) -> Observations:
    n = len(track)
    return Observations(
        track_id=track.id,
        frame_index=track.frame_index,
        joints=np.zeros((n, N_JOINTS, 3), np.float32),
        sigma=np.full((n, N_JOINTS), UNSEEN_SIGMA_M, np.float32),
        twist=np.zeros((n, N_TWISTS, 2), np.float32),
        betas=np.zeros((n, N_BETAS), np.float32),
        landmarks2d=np.zeros((n, N_LANDMARKS, 3), np.float32),
        pelvis=np.zeros((n, 3), np.float32),
        valid=_near_detections(track.detected),
    )


def _near_detections(detected: Array) -> Array:
    """Frames (T,) bool with a detection less than the detector's step away.

    The networks themselves cannot tell whether a crop holds a person.
    """
    step = np.diff(np.flatnonzero(detected)).min(initial=len(detected))
    return maximum_filter1d(detected.astype(np.uint8), 2 * step - 1, mode="constant") > 0
