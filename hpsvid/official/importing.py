"""Bring the authors' checkpoints into the form and folder that hpsvid loads weights from."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hpsvid.common.checkpoints import fill, write_checkpoint
from hpsvid.common.files import check_folder
from hpsvid.common.weights import file_sha256, imported_path
from hpsvid.errors import InputError, WeightsError, one_line
from hpsvid.official.checkpoint_file import read_checkpoint
from hpsvid.official.hybrik_network import HybrIKHRNet, HybrIKResNet
from hpsvid.official.niki_network import ReleasedNiki, own_name

# SMPL's arrays belong to its licence and come from the user's own SMPL file; NIKI's camera network
# is not used: a body is placed by its landmarks, whatever solved it.
LEFT_OUT = re.compile(r"(regressor\.)?(smpl|smpl_layer|camnet)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A kind of checkpoint that can be imported."""

    telltale: str  # a key that no other kind holds
    build: Callable[[], nn.Module]
    rename: Callable[[str], str] = str


CHECKPOINTS = {
    "niki_ts": Checkpoint(
        telltale="regressor.flow_j2s.jts_masks",
        build=lambda: ReleasedNiki("niki_ts"),
        rename=own_name,
    ),
    "niki_1stage": Checkpoint(
        telltale="regressor.flow.mask",
        build=lambda: ReleasedNiki("niki_1stage"),
        rename=own_name,
    ),
    "hybrik_hrnet": Checkpoint(telltale="preact.final_feat_layer.0.weight", build=HybrIKHRNet),
    "hybrik_res34": Checkpoint(telltale="deconv_layers.0.weight", build=HybrIKResNet),
}


def import_weights(path: Path) -> tuple[str, Path]:
    """Read a checkpoint (.pth), check it against its network, and write it as safetensors.

    Nothing in the file is run. Returns the kind found by the keys, one of CHECKPOINTS, and the
    file written (see `hpsvid.common.weights.imported_path`). Raises InputError when the file
    cannot be opened or the folder not written, WeightsError when it is damaged or of no kind
    known here.
    """
    found = _read(path)
    kind = next((name for name, c in CHECKPOINTS.items() if c.telltale in found), None)
    if kind is None:
        raise WeightsError(
            f"{path}: holds none of {', '.join(CHECKPOINTS)}; expected the authors' checkpoint of "
            "NIKI, or of HybrIK with a camera"
        )
    chosen = CHECKPOINTS[kind]
    kept = {chosen.rename(key): value for key, value in found.items() if not LEFT_OUT.match(key)}
    with torch.device("meta"):
        model = chosen.build()
    fill(model, kept, path)
    for key, value in kept.items():
        if not value.isfinite().all():
            raise WeightsError(f"{path}: `{key}` holds numbers that are not finite")
    out = imported_path(kind)
    check_folder(out.parent)
    try:
        write_checkpoint(out, kept, {"file": path.name, "sha256": file_sha256(path)})
    except SafetensorError as error:
        raise InputError(f"{out}: cannot be written ({one_line(error)})") from error
    return kind, out


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, floating ones as float32."""
    content = read_checkpoint(path)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise WeightsError(f"{path}: holds no network; expected a dictionary of tensors")
    return {
        str(key): (value.float() if value.is_floating_point() else value).contiguous()
        for key, value in content.items()
    }
