"""Shards: whole, alike for the same seed, and gone on with where a run stopped."""

import sys

import numpy as np
import pytest

from hpsvid.backbone.blazepose import BlazePose
from hpsvid.backbone.crop import Crop, crop_around_box
from hpsvid.backbone.inner_maps import CELLS, CHANNELS, N_CHANNELS, READ, sampled
from hpsvid.common.files import write_npz
from hpsvid.training.pairs import KEYS
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from tests.factories import WALK
from tests.tools.people_factories import plain_wardrobe, source
from tools.people import pairs
from tools.people.mix import counts_of, report
from tools.people.pairs import STEP, main, make_shard
from tools.people.watch import MirroredCrop, Watcher


@pytest.fixture(scope="module")
def network():
    return Watcher()


def test_inner_maps_are_sampled_where_the_landmarks_are():
    rows, columns = np.mgrid[:CELLS, :CELLS]
    maps = np.stack([columns, rows]).astype(np.float32)
    points = np.array([[8.0, 8.0], [8 + 16 * 3, 8 + 16 * 5], [16 * 4.25, 16 * 9.75], [-50, 999]])
    (found,) = sampled(maps[None], points[None])
    assert found == pytest.approx(np.array([[0, 0], [3, 5], [3.75, 9.25], [0, 15]]))


def test_looks_that_keep_the_inner_maps_say_bit_equally_the_same(network):
    picture = np.random.default_rng(0).integers(0, 255, (90, 80, 3), dtype=np.uint8)
    crop = crop_around_box(np.array([10, 5, 70, 85]))
    (kept,) = network.look(picture, [crop])
    (plain,) = BlazePose([], threads=1).look(picture, [crop])
    assert (kept.image == plain.image).all() and (kept.world == plain.world).all()
    assert kept.crop == crop and plain.inner is None
    assert kept.inner.shape == (len(READ), N_CHANNELS)
    for values in np.split(kept.inner.astype(np.float32), [CHANNELS["map_160"]], axis=1):
        assert np.isfinite(values).all() and values.std() > 0


def test_a_mirrored_crop_shows_the_same_places_the_other_way_round():
    picture = np.random.default_rng(0).integers(0, 255, (90, 80, 3), dtype=np.uint8)
    crop = Crop(x=41.0, y=44.0, side=70.0, angle=0.4)
    mirrored = MirroredCrop.of(crop)
    assert (mirrored.cut(picture) == crop.cut(picture)[:, ::-1]).all()
    points = np.array([[10.0, 20.0], [200.0, 90.0]])
    place = mirrored.to_image(points)
    assert place == pytest.approx(crop.to_image(np.array([[246.0, 20.0], [56.0, 90.0]])))
    assert mirrored.from_image(place) == pytest.approx(points)
    left = crop.turn_back(np.array([[-0.3, 0.2, 0.1]]))
    assert mirrored.turn_back(np.array([[0.3, 0.2, 0.1]])) == pytest.approx(left)


def test_a_person_in_a_mirror_is_the_same_person(network):
    """What the network says of a crop and of its mirror image is near, name by name."""
    picture = next(iter(read_frames(probe(WALK)))).rgb[0]
    (first,) = network.look(picture, [crop_around_box(np.array([560.0, 130, 760, 640]))])
    (look,) = network.look(picture, [first.next_crop()])
    other = network.mirrored(picture, look)
    size = np.ptp(look.image[:33, 1])
    apart = np.linalg.norm(other.image - look.image[:33], axis=-1)
    assert look.score > 0.9 and np.median(apart) < 0.03 * size
    assert np.linalg.norm(other.world - look.world, axis=-1).mean() < 0.15
    assert (other.inner != look.inner).any()


def test_shard_has_what_was_seen_beside_the_truth_and_depends_on_its_seed_alone(
    body, network, monkeypatch, tmp_path
):
    monkeypatch.setattr(pairs, "SCENES", 1)
    monkeypatch.setattr("tools.people.camera.SIZES", ((128, 128),) * 4)
    wardrobe = plain_wardrobe(body)
    made = [make_shard((5, 0), source(2 * STEP), wardrobe, network) for _ in range(2)]
    for k, arrays in enumerate(made):
        write_npz(tmp_path / f"{k}.npz", arrays)
    first, again = ((tmp_path / f"{k}.npz").read_bytes() for k in range(2))
    assert first == again
    shard = made[0]
    assert set(shard) >= {*KEYS, "joints", "landmark_state", "scene"}
    rows = len(shard["scene"])
    assert shard["image"].shape == (rows, 2, 33, 2)
    for name in ("inner", "mirror_inner"):
        assert shard[name].shape == (rows, 2, len(READ), N_CHANNELS)
        assert shard[name].dtype == np.float16
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
    monkeypatch.setattr(pairs, "Watcher", lambda: None)
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
