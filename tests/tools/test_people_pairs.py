"""Shards: whole, alike for the same seed, and gone on with where a run stopped."""

import sys

import numpy as np
import pytest

from hpsvid.backbone.blazepose import BlazePose
from hpsvid.backbone.crop import crop_around_box
from hpsvid.common.files import write_npz
from tests.tools.people_factories import plain_wardrobe, source
from tools.people import pairs
from tools.people.mix import counts_of, report
from tools.people.pairs import main, make_shard
from tools.people.watch import INNER, MAP_SIDE, TappedBlazePose, TappedLook, sampled

RENDER_PAIRS_KEYS = {
    "image", "world", "visibility", "presence", "score", "rotvec", "betas", "transl", "K",
}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    return TappedBlazePose(threads=1)


def test_inner_maps_are_sampled_where_the_landmarks_are():
    rows, columns = np.mgrid[:MAP_SIDE, :MAP_SIDE]
    maps = np.stack([columns, rows]).astype(np.float32)
    points = np.array([[8.0, 8.0], [8 + 16 * 3, 8 + 16 * 5], [16 * 4.25, 16 * 9.75], [-50, 999]])
    found = sampled(maps, points)
    assert found == pytest.approx(np.array([[0, 0], [3, 5], [3.75, 9.25], [0, 15]]))


def test_tapping_the_network_leaves_its_answers_bit_equal(network):
    picture = np.random.default_rng(0).integers(0, 255, (90, 80, 3), dtype=np.uint8)
    crop = crop_around_box(np.array([10, 5, 70, 85]))
    (tapped,) = network._look(picture, [crop])
    (plain,) = BlazePose([], threads=1)._look(picture, [crop])
    assert (tapped.image == plain.image).all() and (tapped.world == plain.world).all()
    assert isinstance(tapped, TappedLook) and tapped.crop == crop
    for name, channels in INNER.items():
        assert tapped.inner[name].shape == (33, channels)
        values = tapped.inner[name].astype(np.float32)
        assert np.isfinite(values).all() and values.std() > 0


def test_shard_has_what_was_seen_beside_the_truth_and_depends_on_its_seed_alone(
    body, network, monkeypatch, tmp_path
):
    monkeypatch.setattr(pairs, "SCENES", 1)
    monkeypatch.setattr("tools.people.camera.SIZES", ((128, 128),) * 4)
    wardrobe = plain_wardrobe(body)
    made = [make_shard((5, 0), source(2), wardrobe, network) for _ in range(2)]
    for k, arrays in enumerate(made):
        write_npz(tmp_path / f"{k}.npz", arrays)
    first, again = ((tmp_path / f"{k}.npz").read_bytes() for k in range(2))
    assert first == again
    shard = made[0]
    assert set(shard) >= RENDER_PAIRS_KEYS | {"joints", "landmark_state", "crop", "shows", "scene"}
    rows = len(shard["scene"])
    assert shard["image"].shape == (rows, 2, 33, 2)
    assert shard["inner_t614"].shape == (rows, 2, 33, 192)
    assert shard["inner_t614"].dtype == np.float16
    assert shard["camera_rotation"].shape == (rows, 2, 3, 3)
    text = report(counts_of(made))
    assert f"of people                       {2 * sum(len(s['scene']) for s in made):>10,}" in text


def test_run_goes_on_where_it_stopped(monkeypatch, tmp_path, body):
    asked = []

    def shard(seed, *_):
        asked.append(seed)
        return {"scene": np.zeros(1), "score": np.zeros((1, 2))}

    monkeypatch.setattr(pairs, "find_assets", lambda: None)
    monkeypatch.setattr(pairs, "Wardrobe", lambda _: plain_wardrobe(body))
    monkeypatch.setattr(pairs, "read_mocap_folder", lambda *_: source(3).clips)
    monkeypatch.setattr(pairs, "TappedBlazePose", lambda threads: None)
    monkeypatch.setattr(pairs, "make_shard", shard)
    out = tmp_path / "train"
    arguments = ["pairs", "--mocap", "x", "--out", str(out), "--shards", "3", "--seed", "9"]
    monkeypatch.setattr(sys, "argv", arguments)
    out.mkdir()
    (out / "shard_00001.npz").write_bytes(b"made before")
    main()
    assert asked == [(9, 0), (9, 2)]
    assert (out / "shard_00001.npz").read_bytes() == b"made before"
    main()
    assert len(asked) == 2
    assert sorted(path.name for path in out.iterdir()) == [f"shard_0000{k}.npz" for k in range(3)]
