"""Write one row of `weights/manifest.toml`; the build and conversion tools call this."""

from hpsvid.common.files import written_whole
from hpsvid.common.weights import WeightsEntry, file_sha256, read_manifest, weights_dir


def record(*, name: str, file: str, licence: str, source: str) -> WeightsEntry:
    """Add or replace the row of `weights/<file>` with its current size and sha256."""
    folder = weights_dir()
    path = folder / file
    entry = WeightsEntry(
        name=name,
        file=file,
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        licence=licence,
        source=source,
    )
    manifest = folder / "manifest.toml"
    entries = read_manifest() if manifest.exists() else {}
    entries[name] = entry
    rows = [_row(entries[key]) for key in sorted(entries)]
    with written_whole(manifest) as stream:
        stream.write("\n".join(rows).encode())
    return entry


def _row(entry: WeightsEntry) -> str:
    return (
        "[[weights]]\n"
        f'name = "{entry.name}"\n'
        f'file = "{entry.file}"\n'
        f'sha256 = "{entry.sha256}"\n'
        f"bytes = {entry.bytes}\n"
        f'licence = "{entry.licence}"\n'
        f'source = "{entry.source}"\n'
    )
