"""Writes torch_zip.pth and torch_legacy.pth with a real PyTorch (2.13): python tests/golden/make_torch_files.py"""

from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def main() -> None:
    model = torch.nn.Sequential(OrderedDict(conv=torch.nn.Conv2d(2, 3, 1), bn=torch.nn.BatchNorm2d(3)))
    for index, tensor in enumerate(model.state_dict().values()):
        tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape) + 10 * index)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    for index, tensor in enumerate(model.state_dict().values()):
        tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape) + 10 * index)
    state = model.state_dict()
    state["half"] = torch.tensor([1.5, -2.0], dtype=torch.float16)
    state["bfloat16"] = torch.tensor([0.5, -3.0], dtype=torch.bfloat16)
    state["turned"] = torch.nn.Parameter(torch.arange(6.0).view(2, 3).t())
    state["inside"] = torch.arange(10.0)[3:6]
    content = {
        "epoch": 3,
        "model_state": state,
        "optimizer_state": optimizer.state_dict(),
        "cfg": "A: 1",
        "device": torch.device("cpu"),
        "type": torch.float32,
        "size": torch.Size([2, 3]),
    }
    torch.save(content, HERE / "torch_zip.pth")
    torch.save(content, HERE / "torch_legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
