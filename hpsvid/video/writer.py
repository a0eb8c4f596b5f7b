"""Writing video: H.264 at every frame's own time, with the source's audio; or one picture.

An output appears whole or not at all: it grows beside its place and is renamed at the end.
"""

import math
import shutil
import subprocess
import tempfile
import zlib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from hpsvid.common.files import Stage, check_file, check_folder, make_parent, written_whole
from hpsvid.errors import DependencyError, HpsvidError, InputError
from hpsvid.types import Array, Clip, Part
from hpsvid.video.containers import ONLY_THIS_FILE
from hpsvid.video.marks import MARK, comment_of
from hpsvid.video.pictures import is_pictures, is_single_picture

_MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}  # ffmpeg's names
VIDEO_OUT_SUFFIXES = tuple(_MUXERS)
PICTURE_OUT_SUFFIXES = (".png", ".jpg")

_TICKS_PER_S = 90_000  # MPEG's clock, 11 us; the coarsest clock that we write (mkv: 1 ms)
_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20")
# BT.709, limited range, said in the file: players guess otherwise, and guess differently
_TO_YUV = (
    "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)
_COPIED_AUDIO = {  # what players accept in each container; anything else becomes AAC
    ".mp4": {"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"},
    ".mov": {"aac", "ac3", "alac", "eac3", "mp3", "pcm_s16be", "pcm_s16le", "pcm_s24le"},
    ".mkv": {"aac", "ac3", "alac", "dts", "eac3", "flac", "mp2", "mp3", "opus", "pcm_s16le",
             "pcm_s24le", "vorbis"},
}  # fmt: skip


def suffix_for(clip: Clip) -> str:
    """The suffix of a picture or video made from this clip when the user names none."""
    suffix = clip.path.suffix.lower()
    if is_single_picture(clip.path):
        return suffix if suffix in PICTURE_OUT_SUFFIXES else ".png"
    return suffix if suffix in VIDEO_OUT_SUFFIXES else ".mp4"


def check_output(path: Path, clip: Clip | None = None) -> None:
    """Make sure, before any work, that `path` can become the overlay (of `clip`).

    Changes nothing on disk; a missing folder is made later, by the writer.
    Raises InputError: suffix not allowed, a picture asked of a video, a folder of that name,
    the input itself, a folder that cannot be written or made.
    """
    pictures_too = clip is None or is_single_picture(clip.path)
    allowed = VIDEO_OUT_SUFFIXES + (PICTURE_OUT_SUFFIXES if pictures_too else ())
    if path.suffix.lower() not in allowed:
        found = f"suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise InputError(f"{path}: {found}; expected {', '.join(allowed)}")
    if clip is not None and path.exists() and clip.path.exists() and path.samefile(clip.path):
        raise InputError(f"{path}: is the input itself; name another file for the output")
    check_file(path)


def open_writer(path: Path, clip: Clip, comment: str = MARK) -> "VideoWriter | PictureWriter":
    """The writer for an overlay of `clip` at `path`, with the clip's size, rate and audio.

    comment: for the file's metadata, by which hpsvid knows its own outputs.
    Raises what `check_output` raises.
    """
    check_output(path, clip)
    if path.suffix.lower() in PICTURE_OUT_SUFFIXES:
        return PictureWriter(path, comment)
    writer = VideoWriter(
        path,
        width=clip.width,
        height=clip.height,
        fps=clip.fps,
        audio_from=clip.path if clip.audio else None,
        comment=comment,
    )
    writer.audio_part = clip.part or Part()
    return writer


def write_image(path: Path, rgb: Array, comment: str = "") -> None:
    """Write one picture (.png, or .jpg at quality 95), whole or not at all.

    rgb: (H, W, 3) uint8, of a .png also 4 channels, the last of which covers what is behind.
    comment: ASCII, for the metadata. A missing folder is made.
    Raises InputError when it cannot be written.
    """
    check_output(path)
    if path.suffix.lower() not in PICTURE_OUT_SUFFIXES:
        raise InputError(f"{path}: expected a picture, {', '.join(PICTURE_OUT_SUFFIXES)}")
    encoded = _encoded(rgb, path.suffix.lower(), comment)
    make_parent(path)
    with written_whole(path) as stream:
        stream.write(encoded)


def _encoded(rgb: Array, suffix: str, comment: str) -> bytes:
    """A picture (H, W, 3 or 4) as the bytes of a file."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR if rgb.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    _, encoded = cv2.imencode(suffix, bgr)
    return _with_comment(encoded.tobytes(), comment.encode("ascii"))


def _with_comment(encoded: bytes, comment: bytes) -> bytes:
    """A .png or .jpg file's bytes with a comment in its metadata."""
    if not comment:
        return encoded
    if encoded.startswith(b"\x89PNG"):
        at = 33  # after the signature and the chunk IHDR
        chunk = b"tEXtComment\0" + comment
        size, check = len(chunk) - 4, zlib.crc32(chunk)
        segment = size.to_bytes(4, "big") + chunk + check.to_bytes(4, "big")
    else:
        at = 4 + int.from_bytes(encoded[4:6], "big")  # after the segment JFIF, which comes first
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return encoded[:at] + segment + encoded[at:]


class PictureWriter:
    """Writes the one frame of a picture; the counterpart of `VideoWriter`."""

    def __init__(self, path: Path, comment: str = "") -> None:
        self.path, self.comment = path, comment

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open: `write` leaves a whole file."""

    def write(self, rgb: Array, pts_s: float) -> None:
        """Write the picture; rgb: (H, W, 3) uint8. `pts_s` has no meaning here."""
        write_image(self.path, rgb, self.comment)


class PngWriter:
    """Writes frames as NAME_000000.png, NAME_000001.png, ... into the folder NAME.

    The folder appears when the block ends well, and takes the place of one that is empty or holds
    nothing but PNG files of hpsvid's.
    """

    def __init__(self, folder: Path, comment: str) -> None:
        self.folder, self.comment = folder, comment
        self._stage = Stage(folder)
        self._frames = 0

    @staticmethod
    def check(folder: Path, *, force: bool = False) -> None:
        """Raise InputError unless the folder can be made or replaced; force: whatever it holds."""
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; expected the name of a folder for PNG files")
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        strange = [path for path in inside if not comment_of(path).startswith(MARK)]
        if strange and not force:
            raise InputError(
                f"{strange[0]}: is not written by hpsvid; name another folder for the PNG files, "
                "or replace all of it with --force"
            )
        check_folder(folder.parent)

    def __enter__(self) -> Self:
        make_parent(self.folder)
        self._stage.beside.mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                if self.folder.is_dir():
                    shutil.rmtree(self.folder)
                self._stage.publish()
        finally:
            self._stage.discard()

    def write(self, rgb: Array, pts_s: float) -> None:
        """Add a frame; rgb: (H, W, 3 or 4) uint8. `pts_s` has no meaning here."""
        path = self._stage.beside / f"{self.folder.name}_{self._frames:06d}.png"
        try:
            path.write_bytes(_encoded(rgb, ".png", self.comment))
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written ({error.strerror})") from error
        self._frames += 1


class VideoWriter:
    """Writes frames as H.264 at their own times, with another file's audio; a context manager.

    The file appears under its name when the block ends well; any exception in it, an interrupt
    included, leaves nothing (a killed process leaves a hidden `.part` file). A missing folder is
    made. Frames go through a pipe to imageio-ffmpeg's encoder as raw pictures that carry their
    times, to 11 us (.mkv: 0.5 ms). An odd width or height, which H.264's usual 4:2:0 colour
    cannot have, grows by one column or row that repeats the edge.

    The best audio track of `audio_from` is copied where the container takes it, otherwise
    re-encoded as AAC; it keeps its place relative to that file's first frame and its length.
    A file without audio adds none.
    """

    def __init__(
        self, path: Path, *, width: int, height: int, fps: Fraction,
        audio_from: Path | None = None, comment: str = "",
    ) -> None:  # fmt: skip
        """width, height: px of the frames to come; fps: Hz, nominal, the last frame's length.

        comment: for the file's metadata.
        Raises InputError when `path` is no .mp4, .mov or .mkv that can be written.
        """
        check_output(path)
        if path.suffix.lower() not in VIDEO_OUT_SUFFIXES:
            raise InputError(f"{path}: expected a video, {', '.join(VIDEO_OUT_SUFFIXES)}")
        if width < 1 or height < 1 or fps <= 0:
            raise ValueError(f"width {width}, height {height}, fps {fps}: expected more than 0")
        self.path = path
        self.width = width
        self.height = height
        self.fps = Fraction(fps).limit_denominator(1001)
        self.audio_from = audio_from
        self.comment = comment
        self.audio_part = Part()  # whose start is at the first frame
        self.frames = 0
        self._stage = Stage(path)
        # a multiple of the rate's numerator: evenly spaced times stay exactly even
        rate = self.fps.numerator
        self._time_base = Fraction(1, rate * math.ceil(_TICKS_PER_S / rate))
        self._last_tick = -1

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._clear()

    def write(self, rgb: Array, pts_s: float) -> None:
        """Add one frame; the array may be reused afterwards.

        rgb: (height, width, 3) uint8. pts_s: seconds from the clip's first frame, increasing.
        Raises ValueError for another shape or a time that does not increase, HpsvidError when
        the encoder has died.
        """
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"frame {self.frames}: expected uint8 {(self.height, self.width, 3)}, "
                f"found {rgb.dtype} {rgb.shape}"
            )
        tick = round(pts_s / self._time_base)
        if tick <= self._last_tick:
            raise ValueError(f"frame {self.frames}: its time {pts_s} s does not increase")
        bottom, right = self.height % 2, self.width % 2
        if bottom or right:
            rgb = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        frame = VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb24")
        frame.pts, frame.time_base = tick, self._time_base
        try:
            self._pipe.mux(self._raw.encode(frame))
        except (FFmpegError, OSError):
            raise self._death() from None
        self._last_tick = tick
        self.frames += 1

    def _start(self) -> None:
        make_parent(self.path)
        suffix = self.path.suffix.lower()
        read_audio, write_audio = _audio_options(self.audio_from, suffix, self.audio_part)
        mp4 = ("-movflags", "+faststart", "-video_track_timescale", f"{1 / self._time_base}")
        command = [
            *(_ffmpeg(), "-v", "error", "-nostdin", "-y", "-copyts"),
            *("-f", "nut", "-i", "pipe:0", *read_audio),
            *("-map", "0:v", "-vf", _TO_YUV, *_X264, "-fps_mode", "passthrough"),
            *("-enc_time_base", f"{self._time_base.numerator}:{self._time_base.denominator}"),
            *write_audio,
            *(("-metadata", f"comment={self.comment}") if self.comment else ()),
            *(() if suffix == ".mkv" else mp4),
            *("-f", _MUXERS[suffix], f"file:{self._stage.beside}"),
        ]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by _clear)
        # a session of its own: Ctrl-C must reach us alone, and we end the encoder
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log,
            start_new_session=True,
            pipesize=1 << 20,  # bytes; the usual 64 KiB wakes both sides 40 times a 720p frame
        )  # fmt: skip
        assert self._process.stdin is not None
        # NUT is the one raw-video container that gives each frame its time and needs no seeking.
        # libavformat writes to the descriptor itself: PyAV swallows a Ctrl-C that arrives while
        # it calls a Python file's write
        self._pipe = av.open(
            f"pipe:{self._process.stdin.fileno()}", "w", format="nut",
            container_options={"write_index": "0"},
        )  # fmt: skip
        self._raw = self._pipe.add_stream("rawvideo", rate=self.fps)
        self._raw.width = self.width + self.width % 2
        self._raw.height = self.height + self.height % 2
        self._raw.pix_fmt = "rgb24"
        self._raw.codec_context.time_base = self._time_base

    def _finish(self) -> None:
        if self.frames == 0:
            raise HpsvidError(f"{self.path}: no frame was given, so no video was written")
        try:
            self._pipe.mux(self._raw.encode(None))
            self._close_pipe()
        except (FFmpegError, OSError):
            raise self._death() from None
        if self._process.wait() != 0:
            raise self._death()
        self._stage.publish()

    def _close_pipe(self) -> None:
        """Tell the encoder that no more frames come."""
        assert self._process.stdin is not None
        try:
            self._pipe.close()
        finally:
            self._process.stdin.close()

    def _death(self) -> HpsvidError:
        """What the encoder said first, as an error of one line."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.poll()
        if not self._stage.beside.parent.is_dir():
            return InputError(
                f"{self.path}: its folder is gone (No such file or directory); bring it back, then "
                "run again"
            )
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        return HpsvidError(
            f"{self.path}: the encoder (ffmpeg) stopped after {self.frames} frames, exit code "
            f"{code}: {said[0] if said else 'it gave no reason'}; "
            "check free disk space and memory, then run again"
        )

    def _clear(self) -> None:
        """End the encoder if it still runs and remove what it left; harmless after a success."""
        if hasattr(self, "_process"):
            self._process.kill()
            # AttributeError: interrupted after the encoder's start, before the pipe was opened
            with suppress(FFmpegError, OSError, AttributeError):
                self._close_pipe()
            self._process.wait()
        if hasattr(self, "_log"):
            self._log.close()
        self._stage.discard()


def _ffmpeg() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise DependencyError(
            "no ffmpeg to encode with; expected the one inside the package imageio-ffmpeg "
            "(pip install --force-reinstall imageio-ffmpeg), or set IMAGEIO_FFMPEG_EXE"
        ) from error


def _audio_options(
    source: Path | None, suffix: str, part: Part
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to tell ffmpeg about the audio: how to read it, and how to write it.

    It is read shifted, so that the start of the part, counted from the source's first frame as in
    `read_frames`, becomes 0. Both are empty where there is no audio.
    """
    if source is None or is_pictures(source):
        return (), ()
    try:
        with av.open(
            f"file:{source}", options=ONLY_THIS_FILE, metadata_errors="replace"
        ) as container:
            audio = container.streams.best("audio")
            if audio is None:
                return (), ()
            # a stream must not be asked anything after its container is closed
            track, codec = audio.index, audio.codec.canonical_name if audio.codec_context else ""
            frame = next(container.decode(video=0), None) if container.streams.video else None
    except FFmpegError as error:
        raise InputError(f"{source}: its audio cannot be read ({error.strerror})") from error
    start_s = frame.time if frame is not None and frame.pts is not None else 0.0
    names = ("protocol_whitelist", "format_whitelist")
    allowed = [part for name in names for part in (f"-{name}", ONLY_THIS_FILE[name])]
    write = ("copy",) if codec in _COPIED_AUDIO[suffix] else ("aac", "-b:a", "192k")
    begin = ("-ss", f"{part.start_s:.6f}") if part.start_s else ()
    # of the output, where copied packets are dropped; what is sought begins at a key frame
    after = ("-ss", "0", "-copypriorss", "0") if part.start_s else ()
    before = () if part.end_s is None else ("-t", f"{part.end_s - part.start_s:.6f}")
    offset = ("-itsoffset", f"{0 - start_s - part.start_s:.6f}")
    return (
        (*allowed, *begin, *offset, "-i", f"file:{source}"),
        ("-map", f"1:{track}", "-c:a", *write, *after, *before),
    )
