"""Every choice a user has, once: its name, default, limits and the text that `--help` shows.

The records are plain dataclasses for use from Python; `hpsvid.flags` says what the command line
makes of them. Nothing here imports typer or anything heavy.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from hpsvid.errors import InputError
from hpsvid.flags import Checked, Flag, known_colour, known_names, known_time

BackboneName = Literal["blazepose", "dense", "fused", "hybrik"]
LifterName = Literal["learned", "geometric"]
SolverName = Literal[
    "hybrik", "hybrik-naive", "ikol", "niki-temporal", "niki", "niki-one-stage", "gik"
]
WeightsName = Literal["hpsvid", "official"]
NetworkName = Literal["large", "small"]
ModelName = Literal[
    "lifter", "dense", "uv", "niki-temporal", "niki", "niki-one-stage", "gik", "mlp"
]
PartName = Literal["ind", "bnd", "bidirectional", "analytic"]
SizeName = Literal["small", "full"]
RendererName = Literal["auto", "raster", "pyrender"]
UpName = Literal["auto", "camera"]
LockName = Literal["auto", "always", "off", "ground"]
FormatName = Literal[
    "npz", "bvh", "amass", "glb", "fbx", "usd", "usdz", "csv", "json", "coco", "trc", "mot", "c3d",
    "chan", "camera"
]  # fmt: skip
FrameName = Literal["camera", "world", "in-place"]
AxisName = Literal["y", "z"]
ViewName = Literal["overlay", "skeleton", "mesh", "side", "top", "orbit", "beside"]
LookName = Literal["tint", "suit", "textured", "confidence"]
SkinName = Literal["suit", "textured"]
RigName = Literal["smpl", "hik", "mixamo", "cmu", "rigify", "ue5", "vrm"]
EngineName = Literal["processes", "ray"]
DENSE = ("dense", "fused")  # backbones that look at dense maps
MAX_FPS = 1000
MIN_INPUT_FPS = 1e-3  # a time lapse of four frames an hour
MAX_VIEWS = 6  # in one picture
ALPHA = 0.85  # weight of a mesh against the picture

# panels of `--help`
INPUT = "Input"
PEOPLE = "People"
LOOK = "Look and solve"
DRAWING = "Drawing"
OUTPUT = "Output"
GROUND = "Ground"
MANY = "Many clips"


def known_format(text: str) -> FormatName:
    """The format called `text`, in upper or lower case. Raises InputError when there is none."""
    name = text.lower().removeprefix(".")
    for known in get_args(FormatName):
        if name == known:
            return known
    *most, last = get_args(FormatName)
    raise InputError(f"{text!r} is not a known format; choose {', '.join(most)} or {last}")


def known_formats(text: str) -> tuple[FormatName, ...]:
    """The formats in `text`, separated by commas, each once. Raises as `known_format`."""
    return tuple(dict.fromkeys(known_format(name.strip()) for name in text.split(",")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Checked):
    """How a motion is made. Raises InputError when a value cannot be used."""

    input_fps: Annotated[
        float | None,
        Flag(help="Frames a second of the input, whatever it states (a folder of frames: 30).",
             panel=INPUT, least=MIN_INPUT_FPS, most=MAX_FPS),
    ] = None  # fmt: skip
    photos: Annotated[
        bool | None,
        Flag(
            help="Whether the pictures of a folder are photos of their own, not frames of one "
            "recording (guessed when not given).",
            panel=INPUT,
            name="--photos/--no-photos",
        ),
    ] = None
    start: Annotated[
        float | None,
        Flag(help="Begin at this time of the clip: seconds or hh:mm:ss.", panel=INPUT, least=0,
             parse=known_time),
    ] = None  # fmt: skip
    end: Annotated[
        float | None,
        Flag(help="End before this time of the clip.", panel=INPUT, least=0, parse=known_time),
    ] = None
    every: Annotated[int | None, Flag(help="Take every Nth frame only.", panel=INPUT, least=1)] = (
        None
    )
    detector: Annotated[
        str,
        Flag(
            help="Person detector: 'embedded', or an ultralytics YOLO (a name or a .pt/.onnx "
            "file).",
            panel=PEOPLE,
        ),
    ] = "embedded"
    backbone: Annotated[
        BackboneName,
        Flag(
            help="Image network: blazepose, dense, fused (both), or hybrik (import its weights).",
            panel=LOOK,
        ),
    ] = "blazepose"
    align: Annotated[
        bool,
        Flag(
            help="Draw bodies to the masks and places that dense maps show (dense, fused).",
            panel=LOOK,
            name="--align",
        ),
    ] = False
    network: Annotated[
        NetworkName,
        Flag(help="Size of the image network: small is quicker on each picture and less exact.",
             panel=LOOK),
    ] = "large"  # fmt: skip
    lifter: Annotated[
        LifterName, Flag(help="How landmarks become 3D joints (blazepose only).", panel=LOOK)
    ] = "learned"
    solver: Annotated[
        SolverName, Flag(help="Solver that turns joints into a body.", panel=LOOK, name="--ik")
    ] = "niki-temporal"
    weights: Annotated[
        WeightsName,
        Flag(help="The solver's weights: hpsvid's, or the authors' (import them).", panel=LOOK),
    ] = "hpsvid"
    fast: Annotated[
        bool, Flag(help="Look at people half as often: faster, less exact.", panel=LOOK)
    ] = False
    focal_px: Annotated[
        float | None,
        Flag(help="Focal length in pixels; guessed when not given.", panel=LOOK, name="--focal",
             least=1),
    ] = None  # fmt: skip
    person: Annotated[
        int | None,
        Flag(help="Only this person (the id that the summary shows).", panel=PEOPLE, least=0),
    ] = None
    max_people: Annotated[
        int | None,
        Flag(help="Keep at most this many people in each shot, the most prominent first.",
             panel=PEOPLE, least=1),
    ] = None  # fmt: skip
    up: Annotated[
        UpName,
        Flag(help="Which way is up: found in the picture, or the camera's (level).", panel=GROUND),
    ] = "auto"
    pitch: Annotated[
        float | None,
        Flag(help="Degrees that the camera looks down.", panel=GROUND, least=-90, most=90),
    ] = None  # None: found
    roll: Annotated[
        float | None,
        Flag(help="Degrees that the camera is turned clockwise about its view.", panel=GROUND,
             least=-180, most=180),
    ] = None  # fmt: skip
    height: Annotated[
        str | None,
        Flag(help="Body height in m, 1.78; or of each person, 0:1.78,1:1.62.", panel=GROUND),
    ] = None  # None: as the proportions of people have it
    foot_lock: Annotated[
        LockName,
        Flag(
            help="Hold feet that stand: where the ground is known well (auto), always, never "
            "(off); ground: only keep them on the floor.",
            panel=GROUND,
        ),
    ] = "auto"
    smpl: Annotated[
        Path | None,
        Flag(help="Your own SMPL file or folder (default: $HPSVID_SMPL).", panel=LOOK),
    ] = None
    threads: Annotated[
        int | None, Flag(help="Threads for networks and drawing.", panel=LOOK, least=1)
    ] = None
    device: Annotated[
        str,
        Flag(
            help="Where the image networks run: cpu, cuda, or the second card, cuda:1 (auto: on "
            "CUDA where onnxruntime has it).",
            panel=LOOK,
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        _ = self.heights
        if self.align and self.backbone not in DENSE:
            raise InputError(
                f"--align: --backbone {self.backbone} has no dense maps; expected dense or fused"
            )
        if self.backbone == "fused" and (self.network == "small" or self.lifter == "geometric"):
            raise InputError("--backbone fused reads the large network with the learned lifter")
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise InputError(f"--device {self.device}: expected auto, cpu, cuda, or such as cuda:1")
        if self.end is not None and self.end <= (self.start or 0):
            raise InputError(
                f"--end {self.end:g}: expected a time after --start {self.start or 0:g} s"
            )

    @property
    def heights(self) -> dict[int | None, float]:
        """Body heights, m, by person; None is everybody's. Raises InputError."""
        if self.height is None:
            return {}
        pairs = [part.rpartition(":") for part in self.height.split(",")]
        try:
            of = {int(who) if colon else None: float(m) for who, colon, m in pairs}
        except ValueError:
            of = {}
        if not of or not all(0.5 <= m <= 2.5 for m in of.values()):
            raise InputError(
                f"--height {self.height}: expected metres from 0.5 to 2.5, such as 1.78, or each "
                "person's, such as 0:1.78,1:1.62"
            )
        return of

    @property
    def lifter_in_use(self) -> LifterName:
        """The lifter that works: the learned one reads the large network's inner maps."""
        return "geometric" if self.small_network else self.lifter

    @property
    def lifts(self) -> bool:
        """Whether a lifter works: whether landmarks are looked at."""
        return self.backbone in ("blazepose", "fused")

    @property
    def small_network(self) -> bool:
        """Whether the smaller image network looks.

        HybrIK's networks look at every frame: --fast has always meant ResNet-34 there.
        """
        return self.network == "small" or (self.backbone == "hybrik" and self.fast)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawOptions(Checked):
    """How meshes are drawn over pictures. Raises InputError when a value cannot be used."""

    renderer: Annotated[RendererName, Flag(help="What draws the meshes.", panel=DRAWING)] = "auto"
    alpha: Annotated[
        float, Flag(help="Opacity of the meshes, 0 to 1.", panel=DRAWING, least=0, most=1)
    ] = ALPHA
    view: Annotated[
        str,
        Flag(
            help="overlay, skeleton (over the clip), mesh (bodies alone), side, top, orbit (a turn "
            "in ten seconds), or several in one picture, such as overlay,side (beside for short).",
            panel=DRAWING,
        ),
    ] = "overlay"
    look: Annotated[
        LookName,
        Flag(
            help="Meshes in each person's colour, in the body's own suit, in what the clip shows "
            "of them (textured), or from blue (sure) to red (15 cm off).",
            panel=DRAWING,
        ),
    ] = "tint"
    labels: Annotated[
        str | None,
        Flag(help="Write ids above heads, or names: 'ids', or 0:Ann,1:Ben.", panel=DRAWING),
    ] = None
    background: Annotated[
        str | None,
        Flag(
            help="Behind the bodies, in place of the clip: a colour such as #ffffff, a picture, or "
            "transparent (with a folder as --out, for PNG files).",
            panel=DRAWING,
        ),
    ] = None
    shadow: Annotated[
        bool, Flag(help="Bodies shade the ground near them.", panel=DRAWING, name="--shadow")
    ] = False
    grid: Annotated[
        bool, Flag(help="The ground's grid, a line each metre.", panel=DRAWING, name="--grid")
    ] = False
    soft: Annotated[
        float,
        Flag(help="Meshes fade out over this many pixels at their edges.", panel=DRAWING, least=0,
             most=50),
    ] = 0.0  # fmt: skip
    sheet: Annotated[
        int | None,
        Flag(help="One picture with this many frames of the clip, evenly spaced.", panel=DRAWING,
             least=1, most=100),
    ] = None  # fmt: skip

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        _ = self.views, self.names, self.colour

    @property
    def views(self) -> tuple[ViewName, ...]:
        """The views of one picture, from left to right. Raises InputError."""
        known = get_args(ViewName)
        names = [name.strip().lower() for name in self.view.split(",")]
        if wrong := sorted({name for name in names if name not in known}):
            raise InputError(f"--view {', '.join(wrong)}: unknown; known are {', '.join(known)}")
        views: list[Any] = []
        for name in names:
            views += ("overlay", "side") if name == "beside" else (name,)
        if len(views) > MAX_VIEWS or len(set(views)) < len(views):
            raise InputError(f"--view {self.view}: expected up to {MAX_VIEWS} views, each once")
        return tuple(views)

    @property
    def names(self) -> dict[int, str] | None:
        """What is written above heads, by person; others by their id. None: nothing is."""
        return None if self.labels is None else known_names(self.labels)

    @property
    def transparent(self) -> bool:
        """Whether nothing is behind the bodies."""
        return self.background == "transparent"

    @property
    def colour(self) -> tuple[int, int, int] | None:
        """The colour behind the bodies, 0..255; None where it is none. Raises InputError."""
        named = self.background is not None and self.background.startswith("#")
        return known_colour(str(self.background)) if named else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions(Checked):
    """What a file of another program holds. Raises InputError when a value cannot be used."""

    fps: Annotated[
        float | None,
        Flag(help="Resample to this many frames a second; most programs take 30 or 60.",
             panel=OUTPUT, least=1, most=MAX_FPS),
    ] = None  # None: the clip's own rate  # fmt: skip
    rig: Annotated[RigName, Flag(help="Names of the joints.", panel=OUTPUT)] = "smpl"
    frame: Annotated[
        FrameName | None,
        Flag(
            help="Where people are: on the ground (world), before the camera, or on the spot.",
            panel=OUTPUT,
        ),
    ] = None  # None: the world; the camera where an old result does not say where the ground is
    up_axis: Annotated[
        AxisName | None,
        Flag(help="The axis that points up (each format has its own default).", panel=OUTPUT),
    ] = None
    scale: Annotated[
        float,
        Flag(help="Multiply all lengths by this.", panel=OUTPUT, least=1e-4, most=1e4),
    ] = 1.0
    pad_to_clip: Annotated[
        bool,
        Flag(
            help="From the clip's first frame to its last; poses held where a person is away.",
            panel=OUTPUT,
        ),
    ] = False
    together: Annotated[
        bool, Flag(help="Everyone in one file, not a file a person.", panel=OUTPUT)
    ] = False
    rest_frame: Annotated[
        bool, Flag(help="A frame in the rest pose before the motion.", panel=OUTPUT)
    ] = False
    loop: Annotated[
        bool, Flag(help="A cycle: the end goes over into the start, on the spot.", panel=OUTPUT)
    ] = False
    character: Annotated[
        Path | None,
        Flag(
            help="Your own character (.glb, .vrm): its copy moves as the people do.", panel=OUTPUT
        ),
    ] = None
    mapping: Annotated[
        Path | None,
        Flag(help='Its bones by joint (.toml, .json), left_hip = "thigh.L".', panel=OUTPUT),
    ] = None
    look: Annotated[
        SkinName,
        Flag(help="The body in its own suit, or in what the clip shows of it.", panel=OUTPUT),
    ] = "suit"
    blender: Annotated[
        Path | None,
        Flag(help="Blender, or a Python that has bpy (default: whichever is found).", panel=OUTPUT),
    ] = None
    licensed_mesh: Annotated[
        bool,
        Flag(
            help="Write the mesh of your own SMPL file, whose licence forbids passing it on.",
            panel=OUTPUT,
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions(Checked):
    """How the videos of a folder are shared out. Raises InputError when a value cannot be used."""

    jobs: Annotated[
        int | None,
        Flag(help="Clips to process in parallel (default: 1; with Ray: all).", panel=MANY, least=1),
    ] = None
    again: Annotated[bool, Flag(help="Process clips that are done already again.", panel=MANY)] = (
        False
    )
    engine: Annotated[
        EngineName, Flag(help="Work on this machine, or on a Ray cluster.", panel=MANY)
    ] = "processes"
    address: Annotated[
        str | None,
        Flag(help="HOST:PORT of the Ray cluster (default: this machine's).", panel=MANY),
    ] = None
