"""The dense networks exported to ONNX tell what they tell in torch, for any number of crops."""

import numpy as np
import onnxruntime as ort
import torch

from hpsvid.backbone.dense_network import DenseConfig, DenseNet
from hpsvid.backbone.uv_network import READ, UvConfig, UvNet
from tools.networks.export_dense import SEEN, TOLD, export_dense, export_uv, some_input


def test_the_exported_dense_network_tells_the_same(tmp_path):
    torch.manual_seed(0)
    net = DenseNet(DenseConfig(width=16, blocks=1, mixes=True)).eval()
    torch.nn.init.normal_(net.carry3d)
    export_dense(net, tmp_path / "dense.onnx")
    session = ort.InferenceSession(tmp_path / "dense.onnx")
    for crops in (1, 3):
        seen = some_input(crops)
        with torch.no_grad():
            answer = net(seen)
        told = session.run(TOLD, {name: getattr(seen, name).numpy() for name in SEEN})
        for name, values in zip(TOLD, told, strict=True):
            assert np.abs(values - getattr(answer, name).numpy()).max() < 1e-4, name


def test_the_exported_inpainting_network_tells_the_same(tmp_path):
    torch.manual_seed(0)
    net = UvNet(UvConfig(width=8)).eval()
    torch.nn.init.normal_(net.leave.get_parameter("1.weight"))
    export_uv(net, tmp_path / "uv.onnx")
    session = ort.InferenceSession(tmp_path / "uv.onnx")
    for crops in (1, 3):
        maps = torch.randn(crops, READ, 64, 64)
        with torch.no_grad():
            way = net(maps).numpy()
        (told,) = session.run(["way"], {"maps": maps.numpy()})
        assert isinstance(told, np.ndarray) and told.shape == (crops, 9, 128, 128)
        assert np.abs(told - way).max() < 1e-4
