"""People without downloads: the free body with a made-up shirt, motions of random swinging."""

from dataclasses import replace
from typing import cast

import numpy as np
import torch

from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.raster import vertex_normals
from hpsvid.mocap.amass import MotionCapture
from hpsvid.mocap.sources import MotionSource
from hpsvid.types import N_BETAS
from tools.build_body.makehuman import METRES
from tools.build_body.tpose import GROUPS
from tools.people.backdrop import draw_backdrop
from tools.people.camera import Shot, turn
from tools.people.character import BareBody, Character, Part, Wardrobe, assemble, read_bare_body
from tools.people.garment import Garment
from tools.people.lighting import draw_lamp
from tools.people.motions import Motion
from tools.people.outfit import Outfit, draw_outfit
from tools.people.staging import Actor, Scene, on_the_floor
from tools.people.surface import Material
from tools.people.tailor import Builds, MeanPerson, Tailor

CLOTH_M = 0.012  # how far the shirt stands off the skin
TRUNK = [JOINT[name] for name in ("spine1", "spine2", "spine3")]
BUILDS = Builds(
    mean=np.zeros(N_BETAS), male=np.eye(N_BETAS)[0], old=-0.3 * np.eye(N_BETAS)[1],
    age_mean=0.3, spread=np.full(N_BETAS, 0.5),
)  # fmt: skip


def grey_picture(value=128):
    return np.dstack([np.full((8, 8, 3), value, np.uint8), np.full((8, 8), 255, np.uint8)])


def whole_mean_person(bare: BareBody) -> MeanPerson:
    """A population whose mean is the free body itself, already in the T-pose."""
    count = len(bare.template)
    groups = np.zeros((count, len(GROUPS)))
    groups[:, 0] = 1
    return MeanPerson(
        a_pose=bare.template.astype(float),
        t_pose=bare.template.astype(float),
        rotations=np.tile(np.eye(3), (len(GROUPS), 1, 1)),
        offsets=np.zeros((len(GROUPS), 3)),
        group_weights=groups,
        skin=bare.skin.astype(float),
    )


def shirt(bare: BareBody) -> tuple[Garment, np.ndarray]:
    """A shirt CLOTH_M off the trunk, and the body vertices below its own, one for one."""
    on_trunk = bare.skin[:, TRUNK].sum(1) > 0.6
    faces = bare.faces[on_trunk[bare.faces].all(1)]
    below, places = np.unique(faces, return_inverse=True)
    normals = vertex_normals(bare.template.astype(float), bare.faces)[below]
    return Garment(
        refs=np.repeat(below[:, None], 3, 1),
        weights=np.tile([1.0, 0, 0], (len(below), 1)),
        offsets=normals * CLOTH_M / METRES,
        scale={},
        hidden=below,
        faces=places.reshape(-1, 3),
        corners=np.zeros((len(faces), 3, 2), np.float32),
    ), below


def outfit(seed=0) -> Outfit:
    return draw_outfit(np.random.default_rng(seed), BUILDS)


def bare_tailor() -> tuple[BareBody, Tailor]:
    """The free body as its own base mesh, and who fits garments to it."""
    bare = read_bare_body()
    bare = replace(bare, vertex_ids=np.arange(len(bare.template)))
    return bare, Tailor(whole_mean_person(bare), bare.template, bare.vertex_ids)


def dressed(body, seed=0) -> tuple[Character, np.ndarray]:
    """A character in the shirt, and the body vertices below the shirt's."""
    bare, tailor = bare_tailor()
    garment, below = shirt(bare)
    fit = tailor.fit(garment)
    part = Part(
        fit=fit,
        materials=[Material(picture=grey_picture(60))],
        which=np.zeros(len(garment.faces), np.int64),
        is_cloth=True,
    )
    skin = Material(picture=grey_picture(190))
    made = assemble(body, bare, skin, garment.hidden, [part], outfit=outfit(seed))
    return made, below


class PlainWardrobe:
    """Makes every outfit the shirt."""

    def __init__(self, body):
        self.body, self.builds = body, BUILDS
        self.made, _ = dressed(body)

    def make(self, chosen: Outfit) -> Character:
        return Character(
            outfit=chosen, body=self.made.body, surface=self.made.surface,
            skin_vertices=self.made.skin_vertices, anchors=self.made.anchors,
        )  # fmt: skip


def plain_wardrobe(body) -> Wardrobe:
    return cast(Wardrobe, PlainWardrobe(body))


def source(length: int) -> MotionSource:
    """Two captures of limbs that swing a little."""
    clips = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        phase = np.linspace(0, 6, 3 * length)[:, None, None]
        angles = 0.25 * np.sin(phase + rng.uniform(0, 6, (SMPL.n_rotations, 3)))
        angles[:, 0] *= 0.2
        rotmats = axis_angle_to_matrix(torch.from_numpy(angles)).float().numpy()
        transl = np.zeros((3 * length, 3), np.float32)
        transl[:, 2] = np.linspace(0, 0.8, 3 * length)
        clips.append(
            MotionCapture(
                name=f"swing{seed}", rotmats=rotmats, transl=transl,
                betas=np.zeros(N_BETAS, np.float32), fps=30.0, licence="",
            )
        )  # fmt: skip
    return MotionSource(tuple(clips), length)


def standing(frames=2) -> Motion:
    """Somebody who stands with arms half down."""
    rotmats = np.tile(np.eye(3), (frames, SMPL.n_rotations, 1, 1))
    for side, sign in (("left", -1), ("right", 1)):
        angle = torch.tensor([0, 0, sign * 1.0], dtype=torch.float64)
        rotmats[:, JOINT[f"{side}_shoulder"]] = axis_angle_to_matrix(angle).numpy()
    return Motion(kind="captured", rotmats=rotmats, transl=np.zeros((frames, 3)), keeps_floor=False)


def level_shot(frames=2, size=(120, 160), distance=3.5) -> Shot:
    """A camera at 1 m height that looks along -z at the origin."""
    zero = np.zeros(frames)
    rotation = turn(zero, zero, zero)
    eye = np.array([0, 1.0, distance])
    width, height = size
    return Shot(
        K=np.array([[1.3 * height, 0, width / 2], [0, 1.3 * height, height / 2], [0, 0, 1.0]]),
        rotation=rotation,
        translation=-(rotation @ eye),
        width=width,
        height=height,
        move="static",
    )


def scene_of(body, places, *, frames=2, props=(), shot=None) -> Scene:
    """People in shirts who stand at `places` (P, 3) m before `level_shot`."""
    wardrobe = PlainWardrobe(body)
    actors: list[Actor] = [
        on_the_floor(wardrobe.make(outfit(k)), body, standing(frames), np.array(place, float), 0.0)
        for k, place in enumerate(places)
    ]
    rng = np.random.default_rng(0)
    low, high = np.array([-3.0, 0, -3]), np.array([3.0, 3, 5])
    return Scene(
        layout="beside",
        actors=tuple(actors),
        shot=shot or level_shot(frames),
        props=tuple(props),
        backdrop=draw_backdrop(rng, low, high, draw_lamp(rng), indoors=False),
    )
