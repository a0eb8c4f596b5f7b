"""Errors as tables and JSON: summaries over people and methods."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpsvid.common.tables import Column, Table
from hpsvid.evaluation.errors import Errors
from hpsvid.evaluation.metrics import MM, auc, joint_means, mean, pck, ratio, ratio_of_percentiles
from hpsvid.evaluation.truth import POINT_NAMES, PointSet
from hpsvid.evaluation.world import world_summary
from hpsvid.types import Array


def _error(heading: str, unit: str) -> Column:
    return Column(heading, unit=unit, form="{:.1f}", better="lower")


def _share(heading: str) -> Column:
    return Column(heading, unit="%", form="{:.1f}", better="higher")


_TRUTH = Column("(truth's)", form="{:.1f}", grey=True)
# what `summary` gives, by key
COLUMNS = {
    "found_percent": _share("found"),
    "mpjpe_mm": _error("MPJPE", "mm"),
    "pa_mpjpe_mm": _error("PA-MPJPE", "mm"),
    "pve_mm": _error("PVE", "mm"),
    "acceleration_m_s2": _error("accel", "m/s²"),
    "acceleration_mm_frame2": _error("accel", "mm/frame²"),
    "pck_percent": _share("PCK"),
    "auc_percent": _share("AUC"),
    "pa_pck_percent": _share("PA-PCK"),
    "pa_auc_percent": _share("PA-AUC"),
    "jitter_m_s3": _error("jitter", "m/s³"),
    "true_jitter_m_s3": _TRUTH,
    "foot_skate_mm_s": _error("foot skate", "mm/s"),
    "true_foot_skate_mm_s": _TRUTH,
    "collision_percent": _error("collision", "%"),
    "true_collision_percent": _TRUTH,
    "p95_speed_ratio": Column("p95 speed", unit="of truth's", form="{:.2f}"),
    "jitter_ratio": Column("jitter", unit="of truth's", form="{:.2f}"),
}
# of a truth that knows the ground, `hpsvid.evaluation.world.world_summary` gives more
WORLD_COLUMNS = {
    "w_mpjpe_mm": _error("W-MPJPE", "mm"),
    "wa_mpjpe_mm": _error("WA-MPJPE", "mm"),
    "rte_percent": _error("RTE", "%"),
    "root_velocity_mm_s": _error("root velocity", "mm/s"),
    "up_deg": _error("up", "deg"),
    "floor_mm": _error("floor", "mm"),
    "contact_skate_mm_s": _error("skate on contacts", "mm/s"),
    "true_contact_skate_mm_s": _TRUTH,
    "world_slower_foot_mm_s": _error("slower foot", "mm/s"),
    "true_world_slower_foot_mm_s": _TRUTH,
    "contact_f1": Column("contact F1", form="{:.2f}", better="higher"),
}


def summary(errors: Sequence[Errors]) -> dict[str, float]:
    """Every measure over these people, each frame and point with the same weight.

    Measures in the world are there where a truth among theirs knows the ground.
    Found is a share of the frames that the truth knows and the motion has. Amplitude kept: the
    95th percentile of the speed of wrists and ankles, the roots together, and the jitter, each
    divided by the truth's over the same frames; 1 keeps all, a motion that was smoothed too much
    has less. Measured truth is low-passed (`MEASURED_LOWPASS_HZ`) before it is differentiated.
    """

    def together(name: str) -> Array:
        return np.concatenate([getattr(person, name).ravel() for person in errors])

    def average(name: str) -> float:
        return mean(together(name))

    jitter, true_jitter = average("jerk"), average("true_jerk")

    joint, aligned = together("joint"), together("aligned")
    sought = together("known") & together("shown")
    per_frame = np.concatenate([(person.acceleration / person.fps**2).ravel() for person in errors])
    has_person = np.concatenate([np.isfinite(person.joint).any(1) for person in errors])
    return {
        "found_percent": 100 * float(has_person.sum() / max(sought.sum(), 1)),
        "mpjpe_mm": mean(joint),
        "pa_mpjpe_mm": mean(aligned),
        "pve_mm": average("vertex"),
        "acceleration_m_s2": average("acceleration") / MM,
        "acceleration_mm_frame2": mean(per_frame),
        "pck_percent": 100 * pck(joint),
        "auc_percent": 100 * auc(joint),
        "pa_pck_percent": 100 * pck(aligned),
        "pa_auc_percent": 100 * auc(aligned),
        "jitter_m_s3": jitter,
        "true_jitter_m_s3": true_jitter,
        "foot_skate_mm_s": average("skate"),
        "true_foot_skate_mm_s": average("true_skate"),
        "collision_percent": 100 * average("collision"),
        "true_collision_percent": 100 * average("true_collision"),
        "p95_speed_ratio": ratio_of_percentiles(together("speed"), together("true_speed"), 95),
        "jitter_ratio": ratio(jitter, true_jitter),
        **world_summary([person.world for person in errors if person.world is not None]),
    }


def per_joint(errors: Sequence[Errors]) -> dict[str, dict[str, float]]:
    """MPJPE and PA-MPJPE, mm, of each point by name; people with one set of points."""
    columns = {
        "mpjpe_mm": joint_means(np.concatenate([person.joint for person in errors])),
        "pa_mpjpe_mm": joint_means(np.concatenate([person.aligned for person in errors])),
    }
    names = POINT_NAMES[errors[0].points]
    return {
        name: {column: float(values[i]) for column, values in columns.items()}
        for i, name in enumerate(names)
    }


def table(errors: Sequence[Errors]) -> str:
    """Every person and method as Markdown, and each method over all of them.

    Below it a line on each motion that does not have all frames of the truth.
    """
    rows: list[tuple[list[Any], dict[str, float]]] = [
        ([person.clip, person.person_id, person.method], summary([person])) for person in errors
    ]
    for method, of_method in by_method(errors).items():
        if len(of_method) > 1:
            rows.append((["all", "", method], summary(of_method)))
    lines = [_table([Column(name, align="left") for name in ("clip", "person", "method")],
                    rows).markdown()]  # fmt: skip
    parts: dict[tuple[str, str], list[Errors]] = {}
    for person in errors:
        parts.setdefault((person.clip, person.method), []).append(person)
    for (clip, method), people in parts.items():
        known = sum(int(person.known.sum()) for person in people)
        sought = sum(int((person.known & person.shown).sum()) for person in people)
        if sought < known:
            lines.append(
                f"\n{clip}, {method}: has frames at the times of {sought} of the {known} "
                "poses that the truth knows; found % and errors are over those."
            )
    return "\n".join(lines)


def summary_table(groups: Mapping[str, Sequence[Errors]], heading: str = "") -> Table:
    """The summary of each group of people, by the group's name."""
    return _table(
        [Column(heading, align="left")],
        [([name], summary(errors)) for name, errors in groups.items()],
    )


def _table(heads: list[Column], rows: Sequence[tuple[list[Any], dict[str, float]]]) -> Table:
    """Rows of names and what `summary` gives; the world's columns where any row has them."""
    columns = COLUMNS | (WORLD_COLUMNS if any("up_deg" in of for _, of in rows) else {})
    return Table(
        [*heads, *columns.values()],
        [[*names, *(of.get(key, math.nan) for key in columns)] for names, of in rows],
    )


def joint_table(errors: Sequence[Errors]) -> str:
    """MPJPE and PA-MPJPE of each point by method, a table for each set of points, as Markdown."""
    point_sets: dict[PointSet, None] = dict.fromkeys(person.points for person in errors)
    tables = []
    for points in point_sets:
        methods = by_method([person for person in errors if person.points == points])
        by_point = [per_joint(of_method) for of_method in methods.values()]
        columns = [Column(method, form="{:.1f} ({:.1f})") for method in methods]
        rows = [
            [name, *(tuple(of[name].values()) for of in by_point)] for name in POINT_NAMES[points]
        ]
        heading = Column("MPJPE (PA-MPJPE) mm", align="left")
        tables.append(Table([heading, *columns], rows).markdown())
    return "\n\n".join(tables)


def by_method(errors: Sequence[Errors]) -> dict[str, list[Errors]]:
    """The errors of each method, in the order of their first."""
    groups: dict[str, list[Errors]] = {}
    for person in errors:
        groups.setdefault(person.method, []).append(person)
    return groups


def as_json(errors: Sequence[Errors]) -> dict[str, Any]:
    """Every figure of the tables as plain values; null where nothing was to measure."""

    def plain(values: dict[str, float]) -> dict[str, float | None]:
        return {k: round(v, 4) if math.isfinite(v) else None for k, v in values.items()}

    def joints(people: Sequence[Errors]) -> dict[str, Any]:
        return {name: plain(values) for name, values in per_joint(people).items()}

    return {
        "people": [
            {"clip": person.clip, "person": person.person_id, "method": person.method,
             "points": person.points, "poses": int(person.known.sum()),
             "poses_shown": int((person.known & person.shown).sum()),
             **plain(summary([person])), "per_joint": joints([person])}
            for person in errors
        ],
        "all": {
            method: {"people": len(people), **plain(summary(people))}
            for method, people in by_method(errors).items()
        },
    }  # fmt: skip
