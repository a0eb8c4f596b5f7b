"""What the pictures say of each person: frames and tracks in, `Observations` out.

`blazepose` runs the landmark network on crops (`crop`) and undoes its swaps of sides (`flips`);
`lifting` makes observations of a track's landmarks, by `geometric` or by the network of `learned`.
`dense_maps` reads maps of the body off each crop. The authors' HybrIK networks, which need a SMPL
body of the user's own, are another backbone: `hpsvid.official.hybrik_evidence`.
"""

from collections.abc import Callable
from typing import Protocol

from hpsvid.types import Array, Frames, Observations, Source

Network = Callable[[Array], tuple[Array, ...]]
"""Crops (N, ...) -> what a network says of them, in arrays with a row for each crop."""


class Backbone(Protocol):
    """Looks at a fixed list of tracks, frame by frame."""

    @property
    def network(self) -> Network:
        """Its network, a function of the crops alone; may be wrapped, to keep what it says."""
        ...

    @network.setter
    def network(self, network: Network) -> None: ...

    @property
    def provenance(self) -> Source:
        """Name and sha256 of its network, and how it was used."""
        ...

    def observe(self, frames: Frames) -> None:
        """Look at the next frames of the clip; they come in order, each once."""
        ...

    def observations(self) -> list[Observations]:
        """One for each track, in their order, after the last frame.

        They may begin after the track and end before it. `valid` says in which frames the person
        was seen; a person who was never seen has none.
        """
        ...
