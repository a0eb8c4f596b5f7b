"""Thin the left half of a mesh by collapsing edges; the right half is its mirror image."""

import heapq
from dataclasses import dataclass

import numpy as np

# Cost of a metre of edge and of a whole change of skin weights, as a distance from the surface
# in metres: both keep triangles even where the surface alone would not ask for it.
LENGTH_COST = 0.02
SKIN_COST = 0.02
FORCED = 1e-6  # factor on the cost of vertices that shall go first
MAX_VALENCE = 10
MIN_TURN = 0.35  # cosine between a triangle's normals before and after
MIN_FATNESS = 0.10  # twice the area over the longest edge squared


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfMesh:
    """The half of a mesh on one side of the seam x = 0, and what matters about its vertices."""

    points: np.ndarray  # (N, 3) m, all vertices of the whole mesh
    triangles: np.ndarray  # (F, 3) of this half
    on_seam: np.ndarray  # (N,) bool
    keep: np.ndarray  # (N,) bool: never removed
    remove_first: np.ndarray  # (N,) bool
    importance: np.ndarray  # (N,) factor on the surface error
    skin: np.ndarray  # (N, 24) skin weights


def decimate(mesh: HalfMesh, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the `vertices` vertices kept (sorted), and the triangles between them.

    Quadric error metrics (Garland and Heckbert, SIGGRAPH 1997) with kept vertices left in
    place, so that every vertex stays one of the base mesh. Seam vertices only slide along the
    seam; no collapse folds a triangle, makes a sliver or breaks the surface.
    """
    half = _Thinning(mesh)
    while len(half.faces_at) > vertices and half.queue:
        half.step()
    triangles = [face for face in half.faces if face is not None]
    return np.array(sorted(half.faces_at)), np.array(triangles)


class _Thinning:
    """The mesh while it loses vertices, and the queue of possible collapses."""

    def __init__(self, mesh: HalfMesh) -> None:
        self.mesh = mesh
        self.points = mesh.points
        self.homogeneous = np.concatenate([mesh.points, np.ones((len(mesh.points), 1))], 1)
        self.quadrics, self.areas = _quadrics(mesh)
        self.faces: list[list[int] | None] = [list(map(int, t)) for t in mesh.triangles]
        self.faces_at: dict[int, set[int]] = {}
        for index, face in enumerate(mesh.triangles.tolist()):
            for vertex in face:
                self.faces_at.setdefault(vertex, set()).add(index)
        self.age = np.zeros(len(mesh.points), int)  # queue entries of another age are stale
        self.queue: list[tuple[float, int, int, int, int]] = []
        for vertex in list(self.faces_at):
            self.offer_all(vertex)

    def face(self, index: int) -> list[int]:
        face = self.faces[index]
        assert face is not None
        return face

    def neighbours(self, vertex: int) -> set[int]:
        found: set[int] = set()
        for index in self.faces_at[vertex]:
            found.update(self.face(index))
        found.discard(vertex)
        return found

    def offer(self, gone: int, kept: int) -> None:
        if not self.mesh.keep[gone]:
            entry = (self.cost(gone, kept), gone, kept, self.age[gone], self.age[kept])
            heapq.heappush(self.queue, entry)

    def offer_all(self, gone: int) -> None:
        if not self.mesh.keep[gone]:
            for kept in self.neighbours(gone):
                self.offer(gone, kept)

    def cost(self, gone: int, kept: int) -> float:
        place = self.homogeneous[kept]
        surface = place @ (self.quadrics[gone] + self.quadrics[kept]) @ place
        skin = self.mesh.skin[gone] - self.mesh.skin[kept]
        length = ((self.points[gone] - self.points[kept]) ** 2).sum()
        evenness = SKIN_COST**2 * (skin @ skin) + LENGTH_COST**2 * length
        total = surface + self.areas[gone] * evenness
        return total * FORCED if self.mesh.remove_first[gone] else total

    def step(self) -> None:
        """Take the cheapest collapse off the queue, and make it if it is still allowed."""
        _, gone, kept, age_gone, age_kept = heapq.heappop(self.queue)
        if gone not in self.faces_at or kept not in self.faces_at:
            return
        if self.age[gone] != age_gone or self.age[kept] != age_kept:
            return
        if not self.allowed(gone, kept):
            return
        touched = self.neighbours(gone) | self.neighbours(kept)
        for index in self.faces_at[gone] & self.faces_at[kept]:
            for vertex in self.face(index):
                self.faces_at[vertex].discard(index)
            self.faces[index] = None
        for index in self.faces_at.pop(gone):
            face = self.face(index)
            face[face.index(gone)] = kept
            self.faces_at[kept].add(index)
        self.quadrics[kept] += self.quadrics[gone]
        self.areas[kept] += self.areas[gone]
        touched.discard(gone)
        for vertex in touched:
            self.age[vertex] += 1
        for vertex in touched:
            self.offer_all(vertex)
            for other in self.neighbours(vertex) - touched:
                self.offer(other, vertex)

    def allowed(self, gone: int, kept: int) -> bool:
        on_seam, shared = self.mesh.on_seam, self.faces_at[gone] & self.faces_at[kept]
        if on_seam[gone] and not on_seam[kept]:
            return False
        if len(shared) != (1 if on_seam[gone] else 2):
            return False
        around, beyond = self.neighbours(gone), self.neighbours(kept)
        if len(around & beyond) != len(shared):  # link condition: the surface stays a surface
            return False
        if len(around | beyond) - 2 > MAX_VALENCE:
            return False
        forced = self.mesh.remove_first[gone]
        return all(
            self.face_survives(self.face(index), gone, kept, forced)
            for index in self.faces_at[gone] - shared
        )

    def face_survives(self, face: list[int], gone: int, kept: int, forced: bool) -> bool:
        a, b, c = self.points[face]
        before = np.cross(b - a, c - a)
        a, b, c = self.points[[kept if vertex == gone else vertex for vertex in face]]
        after = np.cross(b - a, c - a)
        size_before, size_after = np.linalg.norm(before), np.linalg.norm(after)
        turn = 0.0 if forced else MIN_TURN
        if size_after < 1e-12 or before @ after < turn * size_before * size_after:
            return False
        longest = max(((a - b) ** 2).sum(), ((b - c) ** 2).sum(), ((c - a) ** 2).sum())
        return bool(forced or size_after / longest >= MIN_FATNESS)


def _quadrics(mesh: HalfMesh) -> tuple[np.ndarray, np.ndarray]:
    """Each vertex' sum of squared plane distances (N, 4, 4) and its third of the area (N,)."""
    a, b, c = (mesh.points[mesh.triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    twice = np.linalg.norm(normal, axis=1)
    normal = normal / np.maximum(twice, 1e-15)[:, None]
    plane = np.concatenate([normal, -(normal * a).sum(1, keepdims=True)], 1)
    area = twice / 2
    one = plane[:, :, None] * plane[:, None, :] * area[:, None, None]
    quadrics, areas = np.zeros((len(mesh.points), 4, 4)), np.zeros(len(mesh.points))
    for corner in range(3):
        np.add.at(quadrics, mesh.triangles[:, corner], one / 3)
        np.add.at(areas, mesh.triangles[:, corner], area / 3)
    return quadrics * mesh.importance[:, None, None], areas * mesh.importance
