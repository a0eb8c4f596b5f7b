"""Garments are read as MakeHuman wrote them, and follow the body when it is shaped and bent."""

import json

import numpy as np
import pytest
import torch

from hpsvid.body.skeleton import JOINT
from hpsvid.errors import InputError
from tests.factories import make_params
from tests.tools.people_factories import BUILDS, CLOTH_M, bare_tailor, dressed, outfit, shirt
from tools.people.assets import HAIR, SUITS
from tools.people.character import below_the_waist
from tools.people.dyeing import dyed, hair_of
from tools.people.garment import read_mhclo, read_proxy_json
from tools.people.outfit import Dye, draw_outfit

MHCLO = """# a comment
name cap
obj_file cap.obj
x_scale 0 1 2.0
verts 0
0 1 2 0.5 0.25 0.25 1.0 0.0 0.0
2
1 2 0 0.2 0.3 0.5 0.0 2.0 0.0

delete_verts
0 2 - 4
"""
OBJ = "v 0 0 0\nv 0 0 0\nv 0 0 0\nvt 0.1 0.2\nvt 0.9 0.2\nvt 0.5 0.8\nf 1/1 2/2 3/3\n"
BASE = np.array([[0.0, 0, 0], [0.4, 0, 0], [0, 0.3, 0], [0, 0, 0], [0, 0, 0]])  # m


def test_mhclo_places_vertices_by_three_and_scales_offsets_with_the_body(tmp_path):
    (tmp_path / "cap.mhclo").write_text(MHCLO)
    (tmp_path / "cap.obj").write_text(OBJ)
    cap = read_mhclo(tmp_path / "cap.mhclo")
    placed = cap.placed(BASE)
    # 0.4 m between vertices 0 and 1 is 4 dm, twice what the cap was made for
    assert placed[0] == pytest.approx([0.4 * 0.25 + 2 * 0.1, 0.3 * 0.25, 0])
    assert placed[1] == pytest.approx(BASE[2])
    assert placed[2] == pytest.approx([0.4 * 0.2, 0.3 * 0.3 + 0.2, 0])
    assert cap.hidden.tolist() == [0, 2, 3, 4]
    assert cap.corners[0] == pytest.approx(np.array([[0.1, 0.2], [0.9, 0.2], [0.5, 0.8]]))


def test_mesh_and_fitting_that_disagree_are_named(tmp_path):
    (tmp_path / "cap.mhclo").write_text(MHCLO)
    (tmp_path / "cap.obj").write_text(OBJ + "v 1 1 1\n")
    with pytest.raises(InputError, match=r"cap\.obj: has 4 vertices, cap\.mhclo places 3"):
        read_mhclo(tmp_path / "cap.mhclo")


def test_quads_of_the_npm_package_become_triangles(tmp_path):
    faces = [11, 0, 1, 2, 3, 0, 3, 2, 1, 0, 10, 0, 2, 3, 0, 0, 2, 3]
    data = {
        "uvs": [[0, 0, 1, 0, 1, 1, 0, 1]], "faces": faces, "ref_vIdxs": [[0, 1, 2]] * 4,
        "weights": [[1, 0, 0]] * 4, "offsets": [[0, 0, 0]] * 4,
    }  # fmt: skip
    (tmp_path / "brow.json").write_text(json.dumps(data))
    brow = read_proxy_json(tmp_path / "brow.json")
    assert brow.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 3]]
    assert brow.corners[0].tolist() == [[0, 1], [1, 1], [1, 0]]


def test_cloth_keeps_its_distance_when_the_body_is_bent_and_shaped(body):
    character, below = dressed(body)
    start = character.skin_vertices
    pose = make_params(6, seed=3, turn=0.35)
    for strength in (0.0, 1.5):
        betas = strength * torch.linspace(-1, 1, 10)
        arguments = (torch.from_numpy(pose.rotmats), betas, torch.from_numpy(pose.transl))
        skin = body.vertices(*arguments).numpy()
        cloth = character.body.vertices(*arguments).numpy()[:, start:]
        off = np.linalg.norm(cloth - skin[:, below], axis=-1)
        assert np.percentile(np.abs(off - CLOTH_M), 95) < 0.004  # m
        assert off.max() < CLOTH_M + 0.02


def test_character_keeps_the_free_bodys_skeleton_and_hides_covered_skin(body):
    character, below = dressed(body)
    pose = make_params(2, seed=1)
    arguments = [torch.from_numpy(a) for a in (pose.rotmats, pose.betas, pose.transl)]
    assert torch.equal(character.body.joints(*arguments), body.joints(*arguments))
    faces = character.surface.faces
    of_skin = faces[(faces < character.skin_vertices).all(1)]
    assert not np.isin(of_skin, below).all(1).any()
    assert len(of_skin) > 5000  # head, arms and legs are still there
    # the skin that is drawn moves as the body does where nothing covers it
    skin = body.vertices(*arguments).numpy()
    drawn = character.body.vertices(*arguments).numpy()[:, : character.skin_vertices]
    head = body.skin_weights[:, JOINT["head"]].numpy() > 0.9
    assert np.abs(skin - drawn)[:, head].max() < 1e-6


def test_pieces_above_and_below_the_waist_are_told_apart():
    bare, tailor = bare_tailor()
    garment, _ = shirt(bare)
    assert not below_the_waist(tailor.fit(garment)).any()


def test_outfit_goes_with_sex_and_seed():
    drawn = [draw_outfit(np.random.default_rng(seed), BUILDS) for seed in range(200)]
    men = [o for o in drawn if o.sex == "male"]
    women = [o for o in drawn if o.sex == "female"]
    assert 70 < len(men) < 130
    assert all(o.suit in SUITS["male"] and o.hair in ("", *HAIR["male"]) for o in men)
    assert all(o.hair in HAIR["female"] for o in women)
    # men of the survey are 1.4 of stature's spread taller
    assert np.mean([o.betas[0] for o in men]) > np.mean([o.betas[0] for o in women]) + 1.1
    again = outfit(7)
    assert (again.betas == outfit(7).betas).all()
    assert (again.suit, again.upper) == (outfit(7).suit, outfit(7).upper)
    assert len({(o.upper.hue, o.upper.value) for o in drawn}) == len(drawn)


def test_dyeing_changes_colour_and_keeps_folds_and_holes():
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[..., 2], picture[:4, :, 2], picture[..., 3] = 200, 100, 255
    picture[0, 0, 3] = 0
    plain = Dye(hue=1 / 3, saturation=1, value=1, tint=(1, 1, 1), stripes=0,
                stripe_tint=(1, 1, 1))  # fmt: skip
    out = dyed(picture, plain)
    assert out[6, 0, :3].argmax() == 0  # blue has become red
    assert out[6, 0, 0] > 1.5 * out[1, 1, 0]  # the shaded half is still darker
    assert out[0, 0, 3] == 0
    hair = hair_of(np.full((4, 4, 4), 255, np.uint8), (100, 60, 20))
    assert hair[0, 0].tolist() == [100, 60, 20, 255]
