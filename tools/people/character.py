"""Characters: the free body's skin, its clothes and hair as one SMPL-format mesh with textures."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from hpsvid.body.model import Body, load_body
from hpsvid.body.skeleton import JOINT
from hpsvid.common.files import read_npz
from hpsvid.common.raster import vertex_normals
from hpsvid.common.weights import weights_path
from hpsvid.types import Array
from tools.build_body.look import EYE, IRIS
from tools.build_body.makehuman import EYES
from tools.people.assets import Assets
from tools.people.dyeing import dyed, hair_of, read_picture, skin_of
from tools.people.garment import read_mhclo, read_proxy_json
from tools.people.outfit import Outfit
from tools.people.surface import Material, Surface, pack
from tools.people.tailor import Builds, Fit, Tailor, mean_person_and_builds

TUCK_M = 0.009  # skin under cloth or next to it is drawn this much deeper
SOCK_M = 0.02  # a shoe's faces nearer than that to the suit are inside its trousers
SHANK_SOCK_M = 0.06  # the same above the ankle, where trousers have few vertices
UNDER_CLOTH_M = 0.014  # skin nearer than that to a suit or a shoe lies under it
LEGS = [JOINT[f"{s}_{p}"] for s in ("left", "right") for p in ("hip", "knee", "ankle", "foot")]
KNEES = [JOINT["left_knee"], JOINT["right_knee"]]
PELVIS_AND_LEGS = [JOINT["pelvis"], *LEGS]


@dataclass(frozen=True, kw_only=True, eq=False)
class Character:
    """A dressed person. The first `skin_vertices` of the mesh are the free body's, in order."""

    outfit: Outfit
    body: Body  # the whole mesh on the free body's skeleton; betas mean the same
    surface: Surface
    skin_vertices: int
    anchors: Array  # (V, 3) m, the bare body's T-pose at each vertex, under cloth beneath it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """A garment and its materials; `which` (F,) says which of them a face shows."""

    fit: Fit
    materials: list[Material]
    which: Array
    is_cloth: bool  # a suit or a shoe: skin near it lies under it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BareBody:
    """The free body's arrays that clothes are fitted to and drawn with. B vertices, F faces."""

    template: Array  # (B, 3) m
    shape_dirs: Array  # (B, 3, 16)
    pose_dirs: Array  # (B, 3, 207)
    skin: Array  # (B, 24)
    faces: Array  # (F, 3)
    corners: Array  # (F, 3, 2) texture coordinates
    vertex_ids: Array  # (B,) base-mesh vertices
    iris: Array  # (B,) bool


def read_bare_body() -> BareBody:
    """The free body as its file has it."""
    keys = (
        "v_template", "shapedirs", "posedirs", "weights", "f", "uv", "uv_faces", "mh_vertex_ids",
        "colours",
    )  # fmt: skip
    data = read_npz(weights_path("free_body"), "the free body", keys)
    return BareBody(
        template=data["v_template"],
        shape_dirs=data["shapedirs"],
        pose_dirs=data["posedirs"],
        skin=data["weights"],
        faces=data["f"].astype(np.int64),
        corners=data["uv"][data["uv_faces"]],
        vertex_ids=data["mh_vertex_ids"],
        iris=np.all(data["colours"] == np.array(IRIS), axis=1),
    )


class Wardrobe:
    """Makes characters; fits of garments are kept, pictures too."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets
        person, builds = mean_person_and_builds(assets.mpfb2, assets.cache)
        self.builds: Builds = builds
        self._bare = read_bare_body()
        self._tailor = Tailor(person, self._bare.template, self._bare.vertex_ids)
        self._fits: dict[tuple[str, str], Fit] = {}

    @cached_property
    def body(self) -> Body:
        """The free body."""
        return load_body(weights_path("free_body"))

    def make(self, outfit: Outfit) -> Character:
        """The character of an outfit."""
        parts = [self._suit(outfit)]
        if outfit.shoes:
            shoe = self._cloth("clothes", outfit.shoes, shine=0.08, gloss=30)
            worn = self._plain("clothes", outfit.shoes, shoe, lambda p: dyed(p, outfit.shoe))
            parts.append(without_what_is_under(worn, parts[0].fit))
        hidden = np.unique(np.concatenate([part.fit.garment.hidden for part in parts]))
        for kind, name in (("hair", outfit.hair), ("eyebrows", outfit.brows)):
            if name:
                strands = replace(
                    self._cloth(kind, name, shine=0.06, gloss=25), cut_out=True, normals=None
                )
                parts.append(
                    self._plain(kind, name, strands, lambda p: hair_of(p, outfit.hair_colour))
                )
        skin = read_picture(self._picture("skins", outfit.skin))
        return assemble(
            self.body,
            self._bare,
            Material(picture=skin_of(skin, outfit.skin_gain), shine=0.04, gloss=12),
            hidden,
            parts,
            outfit=outfit,
        )

    def _suit(self, outfit: Outfit) -> Part:
        """The suit with what is worn above and below the waist dyed apart."""
        fit = self._fit("clothes", outfit.suit)
        cloth = self._cloth("clothes", outfit.suit, shine=0.015, gloss=10)
        upper, lower = (
            replace(cloth, picture=dyed(cloth.picture, dye)) for dye in (outfit.upper, outfit.lower)
        )
        which = below_the_waist(fit).astype(np.int64)
        return Part(fit=fit, materials=[upper, lower], which=which, is_cloth=True)

    def _plain(
        self, kind: str, name: str, material: Material, colour: Callable[[Array], Array]
    ) -> Part:
        fit = self._fit(kind, name)
        coloured = replace(material, picture=colour(material.picture))
        which = np.zeros(len(fit.garment.faces), np.int64)
        return Part(fit=fit, materials=[coloured], which=which, is_cloth=kind == "clothes")

    def _cloth(self, kind: str, name: str, *, shine: float, gloss: float) -> Material:
        picture = read_picture(self._picture(kind, name))
        path = self._assets.texture(kind, name, "normal")
        normals = None if path is None else read_picture(path)
        if normals is not None and normals.shape != picture.shape:
            normals = None
        holes = bool((picture[..., 3] < 128).mean() > 1e-3)
        return Material(picture=picture, normals=normals, cut_out=holes, shine=shine, gloss=gloss)

    def _picture(self, kind: str, name: str):  # noqa: ANN202
        path = self._assets.texture(kind, name)
        if path is None:
            raise FileNotFoundError(f"{kind}/{name}: no picture in the npm package")
        return path

    def _fit(self, kind: str, name: str) -> Fit:
        if (kind, name) not in self._fits:
            if kind == "eyebrows":
                garment = read_proxy_json(self._assets.proxy_json(kind, name))
            else:
                garment = read_mhclo(self._assets.mhclo(kind, name))
            self._fits[kind, name] = self._tailor.fit(garment)
        return self._fits[kind, name]


def below_the_waist(fit: Fit) -> Array:
    """Faces (F,) bool of the garment's pieces that hang on pelvis and legs more than above."""
    faces = fit.garment.faces
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    count = len(fit.template)
    edges = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (count, count))
    _, piece = connected_components(edges, directed=False)
    on_legs = fit.skin[:, PELVIS_AND_LEGS].sum(1)
    share = np.bincount(piece, on_legs) / np.bincount(piece)
    return share[piece[faces[:, 0]]] > 0.5


def without_what_is_under(part: Part, over: Fit) -> Part:
    """The part without the faces that lie close under another garment: socks in trousers."""
    garment = part.fit.garment
    distance, _ = KDTree(over.template).query(part.fit.template)
    on_shank = part.fit.skin[:, KNEES].sum(1) > 0.5
    inside = (distance < SOCK_M) | (on_shank & (distance < SHANK_SOCK_M))
    shown = ~np.all(inside[garment.faces], axis=1)
    left = replace(garment, faces=garment.faces[shown], corners=garment.corners[shown])
    return replace(part, fit=replace(part.fit, garment=left), which=part.which[shown])


def under_cloth(skin: Array, fits: list[Fit]) -> Array:
    """Skin vertices (B,) bool of (B, 3) m that lie close to a vertex of a garment."""
    found = np.zeros(len(skin), bool)
    for fit in fits:
        distance, _ = KDTree(fit.template).query(skin, distance_upper_bound=UNDER_CLOTH_M)
        found |= np.isfinite(distance)
    return found


def assemble(
    body: Body,
    bare: BareBody,
    skin: Material,
    hidden: Array,
    parts: list[Part],
    *,
    outfit: Outfit,
) -> Character:
    """One mesh of the skin and the parts; hidden: base vertices that lie under clothes."""
    covered = np.isin(bare.vertex_ids, hidden)
    normals = vertex_normals(bare.template.astype(np.float64), bare.faces)
    keep = ~covered[bare.faces].all(1)
    eyeball = (bare.vertex_ids >= EYES.start) & (bare.vertex_ids < EYES.stop)
    eyes = np.all(eyeball[bare.faces], axis=1)
    corners = bare.corners.copy()
    # the eyes' picture: white at the left, iris at the right
    corners[eyes] = np.where(
        np.asarray(bare.iris)[bare.faces[eyes]][..., None], [0.8, 0.5], [0.2, 0.5]
    )
    white = np.full((4, 8, 4), 255, np.uint8)
    white[:, :4, :3], white[:, 4:, :3] = EYE, IRIS
    materials = [skin, Material(picture=white, shine=0.25, gloss=60)]

    tucked = covered | under_cloth(bare.template, [part.fit for part in parts if part.is_cloth])
    template = [bare.template - TUCK_M * normals * tucked[:, None]]
    anchors = [bare.template]
    shapes, bends, weights = [bare.shape_dirs], [bare.pose_dirs], [bare.skin]
    faces, textures, which = [bare.faces[keep]], [corners[keep]], [eyes[keep].astype(np.int64)]
    start = len(bare.template)
    for part in parts:
        garment = part.fit.garment
        template.append(part.fit.template)
        anchors.append(part.fit.follow(bare.template))
        shapes.append(part.fit.follow(bare.shape_dirs))
        bends.append(part.fit.follow(bare.pose_dirs))
        weights.append(part.fit.skin)
        faces.append(garment.faces + start)
        textures.append(garment.corners)
        which.append(part.which + len(materials))
        materials += part.materials
        start += len(part.fit.template)

    def tensor(arrays: list[Array]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays).astype(np.float32))

    whole = replace(
        body,
        template=tensor(template),
        shape_dirs=tensor(shapes),
        pose_dirs=tensor(bends).flatten(0, 1).T.contiguous(),
        skin_weights=tensor(weights),
        faces=np.concatenate(faces),
        landmark_regressor=None,
        landmark_joints=None,
        colours=None,
        uv=None,
        uv_faces=None,
    )
    surface = pack(
        np.concatenate(faces), np.concatenate(textures), np.concatenate(which), materials
    )
    return Character(
        outfit=outfit,
        body=whole,
        surface=surface,
        skin_vertices=len(bare.template),
        anchors=np.concatenate(anchors).astype(np.float32),
    )
