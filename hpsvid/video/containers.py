"""Video files: which are opened, how, and their frames in display order.

A file of a stranger may be a playlist that names other files or addresses. Only the demuxers in
DEMUXERS are allowed, none of which opens anything but the file itself, and only the protocol
"file".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hpsvid.common.files import regular_file
from hpsvid.errors import InputError

VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".m2v", ".vob",
    ".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".mxf", ".dv",
    ".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg", ".y4m", ".ivf", ".obu", ".nut",
)  # fmt: skip

# libavformat's names. Never hls, dash, concat, sdp, tty, image2: they open other files, networks,
# or draw any text as a picture.
RAW_DEMUXERS = ("h264", "hevc", "vvc", "m4v", "mpegvideo", "h263", "mjpeg", "obu", "dirac", "vc1")
DEMUXERS = (
    *RAW_DEMUXERS, "mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "gif", "apng",
    "asf", "ogg", "mxf", "dv", "nut", "ivf", "rm", "yuv4mpegpipe", "av1",
    "mp3", "wav", "flac", "aac",  # to say "has audio but no video"
)  # fmt: skip
ONLY_THIS_FILE = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(DEMUXERS),
    "enable_drefs": "0",  # QuickTime's references to other files
}
MOST_PIXELS = 100_000_000  # of a video frame: 12K; a header may claim 268 million
_MOST_DELAYED = 256  # packets: more than any decoder, with its threads, holds back
_STILL_BRANDS = {"heic", "heix", "heim", "heis", "mif1", "avif"}


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its video stream. Raises InputError when there is none to read."""
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a video, a picture or a folder of them")
    if regular_file(path).stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; copy or download it again")
    try:
        # "file:" keeps names with a colon from being read as network addresses
        container = av.open(
            f"file:{path}",
            options={**ONLY_THIS_FILE, "max_pixels": str(MOST_PIXELS)},
            metadata_errors="replace",  # titles in Latin-1
        )
    except (FFmpegError, OverflowError) as error:
        raise InputError(f"{path}: {_why_not(path, error)}") from error
    with container:
        stream = container.streams.best("video")
        if container.metadata.get("major_brand", "").strip() in _STILL_BRANDS:
            raise InputError(f"{path}: a photo, not a video; give it the suffix .heic or .avif")
        if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
            raise InputError(
                f"{path}: has audio but no video; expected a video"
                if container.streams.audio
                else f"{path}: holds no video stream; expected a video"
            )
        if stream.codec_context is None:
            raise InputError(
                f"{path}: its video codec is not known here; convert it, for instance with "
                "ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
            )
        # AUTO: frames and slices in parallel; the pictures are the same with any thread count
        stream.thread_type = "AUTO"
        try:
            yield container, stream
        except FFmpegError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); copy or download it again, or convert "
                "it, for instance with ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
            ) from error


def _why_not(path: Path, error: Exception) -> str:
    """Why a file cannot be opened as a video, and what was expected."""
    expected = "expected a whole mp4, mov, mkv, webm, avi or gif file"
    if path.suffix == ".npz":
        return f"not a video (a saved result? hpsvid export takes those); {expected}"
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head.isascii() and head.replace(b"\n", b"").replace(b"\t", b"").decode().isprintable():
        return (
            "cannot be read as a video: it is a text file; playlists and lists of files are "
            f"not followed, {expected}"
        )
    if isinstance(error, ArgumentError):
        return f"cannot be read as a video: of a kind that is not allowed here; {expected}"
    said = error.strerror if isinstance(error, FFmpegError) else str(error)
    return f"cannot be read as a video ({said}); {expected}"


def decode_stream(
    path: Path, container: InputContainer, stream: VideoStream
) -> Iterator[tuple[VideoFrame, float | None]]:
    """The stream's frames in display order, each with its stamp in s, or None without one.

    Damaged packets give no frame. AVI counts packets and knows no display time: libavformat
    stamps them in the order of decoding, and a decoder that reorders frames (B-frames) hands the
    stamps on in disorder. There the next frame has the lowest of the stamps that are left.
    """
    waiting: list[int] = []  # stamps of decoding (dts) of packets whose frames have not come
    sent: dict[int, int] = {}  # pts -> dts of the last packets
    in_decoding_order = container.format.name == "avi"
    for packet in container.demux(stream):
        if in_decoding_order and packet.pts is not None and packet.dts is not None:
            waiting.append(packet.dts)
            sent[packet.pts] = packet.dts
            if len(sent) > _MOST_DELAYED:
                del sent[next(iter(sent))]
        try:
            frames = packet.decode()
        except InvalidDataError:
            continue  # players skip it too; `_check_whole` says so when it mattered
        for frame in frames:
            if not isinstance(frame, VideoFrame):
                continue
            if frame.width * frame.height > MOST_PIXELS:
                raise InputError(f"{path}: pictures of {frame.width}x{frame.height} px; too large")
            pts = frame.pts
            if pts in sent and frame.key_frame:  # all sent before it have come, or were damaged
                waiting = [stamp for stamp in waiting if stamp >= sent[pts]]
            if waiting:
                waiting.remove(pts := min(waiting))
            tick_s = frame.time_base or stream.time_base
            yield frame, None if pts is None or tick_s is None else float(pts * tick_s)
