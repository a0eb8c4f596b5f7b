"""Textures of the people of a motion, made from its clip."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from hpsvid.appearance.blend import blended
from hpsvid.appearance.choose import chosen_rows, fit
from hpsvid.appearance.holes import filled
from hpsvid.appearance.looks import Look, look_at, smoother
from hpsvid.body.atlas import atlas_of
from hpsvid.body.model import Body
from hpsvid.body.texels import texels_of
from hpsvid.common.threads import one_thread, prefetch
from hpsvid.errors import InputError
from hpsvid.types import Array, Motion, Person, Texture
from hpsvid.video.reader import read_frames

PLAIN = 128  # grey of who was not seen
SIZE = 1024  # texels a side: 1.8 mm on the trunk, 0.9 mm on the face
_AT_ONCE = 3  # people whose looks are held in memory: up to 150 MB each, mostly a fifth of that
_SHARPNESS = (0.3, 1.5)  # of a look, against the median of its person's: the least, the most

Progress = Callable[[str, int, int | None], None]


@one_thread()
def textured(
    motion: Motion, body: Body, progress: Progress, *, ids: Collection[int] | None = None,
    size: int = SIZE,
) -> Motion:  # fmt: skip
    """The motion with textures of these people (None: of all who have none yet), from its clip.

    Each is made of some frames that show the person well and from many sides. The same motion and
    clip give the same texels. progress: called as progress(stage, frames done, frames in all).
    Who is seen well in no frame beside others who are is plain. Raises InputError when the clip is
    not there or not the motion's, the body has no texture layout, or nobody is seen well.
    """
    wanted = [
        person
        for person in motion.people
        if (person.texture is None if ids is None else person.track.id in ids)
    ]
    if not wanted:
        return motion
    if motion.clip.blank or not motion.clip.path.exists():
        raise InputError(
            f"{motion.clip.path}: the clip of this result is not there, and textures are made from "
            "it; say where it is with `hpsvid texture RESULT --video CLIP`"
        )
    atlas, made = atlas_of(body), {}
    texels = texels_of(atlas, size)
    for first in range(0, len(wanted), _AT_ONCE):
        for person, looks, worth in _seen(motion, wanted[first : first + _AT_ONCE], body, progress):
            if not looks:
                continue
            colours, weights = blended(texels, body, looks, worth)
            picture = filled(colours, weights, texels, atlas, body)
            made[person.track.id] = Texture(rgb=picture)
    if not made:
        names = ", ".join(str(person.track.id) for person in wanted)
        raise InputError(f"{motion.clip.path}: person {names} is seen well in no frame of it")
    plain = Texture(rgb=np.full((size, size, 3), PLAIN, np.uint8))
    made = {person.track.id: plain for person in wanted} | made
    people = (replace(p, texture=made.get(p.track.id, p.texture)) for p in motion.people)
    return replace(motion, people=tuple(people))


def _seen(
    motion: Motion, people: Sequence[Person], body: Body, progress: Progress
) -> Iterator[tuple[Person, list[Look], Array]]:
    """These people's looks, and how good each look is, one person after the other."""
    clip, smooth = motion.clip, smoother(body)
    wanted: dict[int, list[tuple[Person, int]]] = defaultdict(list)
    for person in people:
        for row in chosen_rows(person, motion.pts_s, clip).tolist():
            wanted[int(person.track.frame_index[row])].append((person, row))
    looks: dict[int, list[Look]] = {person.track.id: [] for person in people}
    fits: dict[int, list[float]] = {person.track.id: [] for person in people}
    last = max(wanted, default=-1)
    with closing(prefetch(read_frames(clip))) as chunks:
        for frames in chunks if wanted else ():
            for rgb, index in zip(frames.rgb, frames.index.tolist(), strict=True):
                for person, row in wanted.pop(index, ()):
                    present = _surfaces(motion, person, index, body)
                    look = look_at(rgb, motion.camera.K, present, body.faces, smooth)
                    if look is not None:
                        looks[person.track.id].append(look)
                        fits[person.track.id].append(float(fit(person)[row]))
            progress("look at people", min(int(frames.index[-1]), last) + 1, last + 1)
            if int(frames.index[-1]) >= last:
                break
    if wanted:
        raise InputError(
            f"{clip.path}: ends before frame {last}, which the motion was made from; give the clip "
            "that the motion came from"
        )
    for person in people:
        own = looks.pop(person.track.id)
        sharp = np.array([look.sharp for look in own])
        if own:
            sharp = (sharp / max(float(np.median(sharp)), 1e-6)).clip(*_SHARPNESS)
        yield person, own, np.array(fits[person.track.id]) * sharp**2


def _surfaces(motion: Motion, first: Person, index: int, body: Body) -> list[Array]:
    """Everybody's surface (V, 3) m in a frame of the clip, this person's before the others'."""
    surfaces = []
    for person in (first, *(p for p in motion.people if p is not first)):
        row = index - int(person.track.frame_index[0])
        if 0 <= row < len(person.track):
            surfaces.append(body.vertices_of(person.body, slice(row, row + 1))[0])
    return surfaces
