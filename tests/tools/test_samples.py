"""The shipped clips, their exact truth, and that the one shows the other."""

from collections.abc import Iterator
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from hpsvid.body.skeleton import JOINT
from hpsvid.formats.npz import read_motion
from hpsvid.types import Array, Motion
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from tests.tools.people_factories import plain_wardrobe
from tools.build_body.people import shipped_people
from tools.people.props import painted_box
from tools.people.render_samples import (
    ROOT,
    cast,
    draw_frame,
    footfalls,
    frame_of,
    render,
    silhouette,
    sound,
)
from tools.people.room import SUPERSAMPLE
from tools.people.sample_scripts import SCRIPTS, Script

SAMPLES = ROOT / "samples"
# Mean difference that H.264 at this quality leaves, of 255, in the picture and on a person, whose
# shirt has fine coloured stripes; a frame's shift of the person gives more than 14 there.
CODEC_ERROR, CLOTH_ERROR = 4.0, 8.0


@pytest.fixture(params=SCRIPTS, ids=lambda script: script.name)
def script(request: pytest.FixtureRequest) -> Script:
    return request.param


@pytest.fixture
def truth(script: Script) -> Motion:
    return read_motion(SAMPLES / f"{script.name}.npz")


def decoded(script: Script, wanted: set[int]) -> Iterator[tuple[int, Array]]:
    clip = probe(SAMPLES / f"{script.name}.mp4")
    for frames in read_frames(clip):
        for index, rgb in zip(frames.index, frames.rgb, strict=True):
            if int(index) in wanted:
                yield int(index), rgb
        if int(frames.index[-1]) >= max(wanted):
            return


def test_clip_is_short_light_and_audible(script):
    path = SAMPLES / f"{script.name}.mp4"
    assert path.stat().st_size < 3_000_000
    clip = probe(path)
    assert (clip.width, clip.height, clip.fps, clip.audio) == (1280, 720, 30, True)
    assert clip.frame_count == script.frames
    assert 5 <= script.frames / 30 <= 10
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        heard = [frame.to_ndarray() for frame in container.decode(audio=0)]
    loudness = np.abs(np.concatenate(heard, -1))
    assert 0.05 < loudness.max() < 1
    assert loudness.shape[-1] / 48_000 == pytest.approx(script.frames / 30, abs=0.1)


def test_truth_belongs_to_the_clip(script, truth):
    assert truth.clip.path.name == f"{script.name}.mp4"
    assert len(truth.pts_s) == script.frames
    assert truth.pts_s == pytest.approx(np.arange(script.frames) / 30)
    assert [person.track.id for person in truth.people] == list(range(len(script.actors)))


def test_joints_are_those_of_the_parameters_on_the_shipped_body(script, truth, body):
    for person in truth.people:
        params = person.body
        joints = body.joints_of(params)
        assert np.abs(person.joints - joints).max() < 1e-6
        image = joints @ truth.camera.K.T.astype(np.float32)
        assert np.abs(person.joints2d - image[..., :2] / image[..., 2:]).max() < 0.01
        identity = params.rotmats @ params.rotmats.swapaxes(-1, -2)
        assert np.abs(identity - np.eye(3)).max() < 1e-5
        assert (person.sigma == 0).all()
        assert person.valid.all()


def drawn(script, truth, wardrobe, index):
    """Frame `index` drawn again from the npz, with the place in its track of each who is there."""
    present = [
        (person, place)
        for person in truth.people
        if 0 <= (place := index - int(person.track.frame_index[0])) < len(person.track)
    ]
    characters = [wardrobe.make(script.actors[person.track.id].outfit) for person, _ in present]
    now = [frame_of(person.body, place) for person, place in present]
    return draw_frame(script, script.room(), characters, now, index), present, characters


def test_video_shows_the_clothed_people_of_the_truth(script, truth, wardrobe):
    """A frame drawn again from the npz alone is the frame in the video."""
    for index, rgb in decoded(script, {22, 70}):
        picture, present, _ = drawn(script, truth, wardrobe, index)
        off = np.abs(rgb.astype(int) - picture.rgb)
        assert off.mean() < CODEC_ERROR
        for number, (person, place) in enumerate(present):
            shown = picture.owner[::SUPERSAMPLE, ::SUPERSAMPLE] == number
            score, box = person.track.scores[place], person.track.boxes[place]
            assert 0 < score <= picture.visible[number] + 1e-6
            if (box[:2] > 0).all() and (box[2:] < [1280, 720]).all():  # else the edge hides some
                assert score == pytest.approx(picture.visible[number], abs=1e-6)
            assert shown.sum() < 3000 or off[shown].mean() < CLOTH_ERROR


def test_video_shows_bodies_where_the_truth_has_them(script, truth, body):
    """Without the clothes: the joints lie in the bodies, the bodies before the empty room, and
    but a rim of cloth and hair about them nothing else does.
    """
    for index, rgb in decoded(script, {70}):
        picture, present, characters = drawn(script, truth, plain_wardrobe(body), index)
        view = script.view(index)
        owner = picture.owner[::SUPERSAMPLE, ::SUPERSAMPLE]
        empty = draw_frame(script, script.room(), [], [], index).rgb.astype(int)
        for number, (person, place) in enumerate(present):
            shown = owner == number
            if shown.sum() > 3000:
                inner = cv2.erode(shown.astype(np.uint8), np.ones((5, 5))) > 0
                assert np.median(np.abs(rgb.astype(int) - empty).max(-1)[inner]) > 25
            camera = characters[number].body.vertices_of(frame_of(person.body, place))[0]
            world = (camera - view.translation) @ view.rotation
            alone = silhouette(world, characters[number].surface, view)[0]
            for column, row in np.floor(person.joints2d[place][:24]).astype(int):
                if 0 <= column < alone.shape[1] and 0 <= row < alone.shape[0]:
                    assert alone[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any()
        people = ((owner >= 0) & (owner < len(present))).astype(np.uint8)
        outside = cv2.dilate(people, np.ones((31, 31))) == 0
        assert np.abs(rgb.astype(int) - picture.rgb)[outside].mean() < CODEC_ERROR


def small_script(pillar_x):
    """The second clip's dancer, small, and a pillar before her at this x (m)."""
    script = SCRIPTS[1]
    pillar = painted_box((10, 200, 10), (pillar_x, 0.95, -1.5), (0.3, 1.9, 0.3), 0)
    return replace(script, actors=script.actors[:1], props=lambda index: [pillar])


def test_what_stands_before_a_person_hides_as_much_as_it_covers(body):
    """A pillar's colour is where it is nearer, and the share seen is what it leaves."""
    wardrobe, dancer = plain_wardrobe(body), read_motion(SAMPLES / "two_people.npz").people[0]
    character = wardrobe.make(SCRIPTS[1].actors[0].outfit)
    now = frame_of(dancer.body, 70)
    shares = []
    for pillar_x in (2.0, 0.25):
        script = small_script(pillar_x)
        picture = draw_frame(script, script.room(), [character], [now], 70)
        shares.append(picture.visible[0])
        green = picture.rgb[..., 1].astype(int) > picture.rgb[..., 0].astype(int) + 60
        pillar = cv2.erode(
            (picture.owner[::SUPERSAMPLE, ::SUPERSAMPLE] == 1).astype(np.uint8), np.ones((5, 5))
        )
        assert pillar.sum() > 3000
        assert green[pillar > 0].all()
    assert shares[0] == 1
    assert shares[1] < 0.9


def test_people_stand_on_the_floor(script, truth):
    """In world axes the soles rest at height 0, and no foot hovers throughout."""
    for person in truth.people:
        heights = []
        for place, index in enumerate(person.track.frame_index):
            view = script.view(int(index))
            feet = person.joints[place, [JOINT["left_big_toe"], JOINT["right_big_toe"]]]
            heights.append(((feet - view.translation) @ view.rotation)[:, 1].min())
        assert -0.04 < np.percentile(heights, 10) < 0.06


def test_second_clip_has_a_crossing_and_full_occlusions():
    truth = read_motion(SAMPLES / "two_people.npz")
    dancer, walker = truth.people
    assert dancer.track.scores.min() < 0.1  # behind the pillar
    assert dancer.track.detected.mean() > 0.8
    at = walker.track.frame_index - dancer.track.frame_index[0]
    apart = dancer.joints2d[at, 0, 0] - walker.joints2d[:, 0, 0]
    assert apart[0] < -300 and apart[-1] > 300  # from one side to the other
    assert (walker.joints[:, 0, 2] < dancer.joints[at, 0, 2] - 1).all()  # in front
    assert np.abs(walker.body.betas - dancer.body.betas).max() > 1


def test_a_man_and_a_woman_are_shown():
    outfits = [actor.outfit for script in SCRIPTS for actor in script.actors]
    assert {outfit.sex for outfit in outfits} == {"male", "female"}
    assert len({outfit.suit for outfit in outfits}) == len(outfits)
    people = shipped_people()
    for outfit in outfits:  # built as their sex rather than as the other
        off = {
            sex: np.linalg.solve(np.linalg.cholesky(p.covariance), outfit.betas - p.mean)
            for sex, p in people.items()
        }
        other = "female" if outfit.sex == "male" else "male"
        assert np.linalg.norm(off[outfit.sex]) < np.linalg.norm(off[other])


def test_rendering_again_gives_the_same_bytes(shared, wardrobe, tmp_path):
    """Three frames of a clip, twice, and their truth is the shipped one's beginning."""
    mocap = shared / "data/mocap/free/train"
    script = replace(SCRIPTS[0], frames=3)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        render(script, wardrobe, mocap, tmp_path / name)
    for suffix in ("mp4", "npz"):
        first, second = (
            (tmp_path / name / f"{script.name}.{suffix}").read_bytes() for name in ("one", "two")
        )
        assert first == second


def test_truth_is_the_motion_capture(shared, script, truth, body):
    people = cast(script, body, shared / "data/mocap/free/train")
    for person, made in zip(truth.people, people, strict=True):
        at = person.track.frame_index
        assert (person.body.rotmats == made.rotmats[at]).all()
        # to 10 um: the last bit of a float32 path depends on the BLAS of the machine
        assert np.abs(person.body.transl - made.transl[at]).max() < 1e-5


def test_footsteps_are_heard_when_feet_come_down(shared, body):
    script = SCRIPTS[0]
    people = cast(script, body, shared / "data/mocap/free/train")
    steps = footfalls(script, body, people)
    assert 6 <= len(steps) <= 20
    track = sound(script, body, people).astype(float)
    loud = np.abs(track).reshape(script.frames, -1).max(1)
    assert loud[steps].min() > 2 * np.median(loud)
