"""MakeHuman's clothes on the free body; skipped where they were never fetched."""

import numpy as np
import pytest

from hpsvid.body.skeleton import JOINT
from hpsvid.errors import InputError
from tools.people.assets import SUITS, find_assets
from tools.people.outfit import draw_outfit
from tools.people.sheet import standing

TRUNK_AND_THIGHS = [JOINT[name] for name in ("spine1", "spine2", "spine3", "left_hip", "right_hip")]


def test_missing_shared_data_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HPSVID_SHARED", str(tmp_path))
    with pytest.raises(
        InputError, match=r"makehuman_geometry\.tar\.xz: missing; set HPSVID_SHARED"
    ):
        find_assets()


def test_characters_are_dressed_and_no_skin_pokes_through_their_clothes(wardrobe):
    men_taller = wardrobe.builds.male[0]
    assert men_taller > 0.3  # betas' first direction is stature
    for seed in (0, 1):
        drawn = draw_outfit(np.random.default_rng(seed), wardrobe.builds)
        if drawn.suit not in SUITS["male"]:  # long trousers and a shirt
            continue
        character = wardrobe.make(drawn)
        assert character.skin_vertices == len(wardrobe.body.template)
        skin = wardrobe.body.skin_weights.numpy()[:, TRUNK_AND_THIGHS].sum(1) > 0.97
        faces = character.surface.faces
        on_skin = (faces < character.skin_vertices).all(1)
        bare = on_skin & np.append(skin, np.zeros(len(character.body.template), bool))[faces].all(1)
        # neither trunk nor thighs have skin left to draw but a little at the collar
        assert bare.sum() < 0.05 * on_skin.sum()
        assert standing(character, 0, seed).std() > 15
