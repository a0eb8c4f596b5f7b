"""People on the ground: upright, with what touches it, and their feet held."""

from collections.abc import Sequence

from hpsvid.body.model import Body
from hpsvid.motion.lean import righted
from hpsvid.motion.lock import holds_feet, lock_feet
from hpsvid.motion.world import with_contacts
from hpsvid.options import Options
from hpsvid.types import Array, Camera, Person, World


def on_ground(
    people: Sequence[Person], body: Body, camera: Camera, world: World, pts_s: Array,
    options: Options,
) -> list[Person]:  # fmt: skip
    """The people before `camera` as they stand on the ground of `world`.

    pts_s: (F,) s of the clip's frames. A camera that is taken as level, whatever it is, does not
    say who leans.
    """
    solved = list(people)
    if options.up != "camera":
        solved = [righted(person, body, camera, world, pts_s) for person in solved]
    solved = [with_contacts(person, body, world, pts_s) for person in solved]
    if not holds_feet(world, options):
        return solved
    level = options.foot_lock == "ground"
    return [lock_feet(person, body, camera, world, pts_s, level=level) for person in solved]
