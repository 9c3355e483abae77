"""The models of `make bench-cuda`, into a folder: random weights, as only their architecture matters here.

Needs torch, torchvision, transformers and onnx; uses a GPU where there is one. A model that is there already is left.
"""
import os
import sys
import time

import torch
from torch import nn

FOLDER = sys.argv[1]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def export(module, inputs, name, names, axes):
    path = os.path.join(FOLDER, f"{name}.onnx")
    if os.path.exists(path):
        return
    began = time.time()
    with torch.no_grad():
        torch.onnx.export(
            module, inputs, path + ".part", input_names=names, output_names=["y"],
            dynamic_axes={**axes, "y": {0: "n"}}, opset_version=17, dynamo=False,
        )
    os.rename(path + ".part", path)
    print(f"{name}: {os.path.getsize(path) >> 20} MiB in {time.time() - began:.1f} s", flush=True)


def mlp():
    layers = [nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2), nn.Softmax(-1)]
    export(nn.Sequential(*layers).eval(), (torch.randn(4, 32),), "mlp", ["x"], {"x": {0: "n"}})


def resnet50():
    import torchvision

    net = torchvision.models.resnet50(weights=None).eval()
    pictures = torch.randn(2, 3, 224, 224)
    export(net, (pictures,), "resnet50_fp32", ["x"], {"x": {0: "n"}})
    net = net.half().to(DEVICE)
    export(net, (pictures.half().to(DEVICE),), "resnet50_fp16", ["x"], {"x": {0: "n"}})


class Pooled(nn.Module):
    """An encoder of BERT-base's size, and of its outputs the one that has no steps."""

    def __init__(self):
        super().__init__()
        from transformers import BertConfig, BertModel

        self.bert = BertModel(BertConfig(attn_implementation="eager"))

    def forward(self, input_ids, attention_mask):
        return self.bert(input_ids=input_ids, attention_mask=attention_mask).pooler_output


def bert():
    encoder = Pooled().eval().half().to(DEVICE)
    ids = torch.randint(1_000, 20_000, (2, 128)).to(DEVICE)
    axes = {name: {0: "n", 1: "l"} for name in ["input_ids", "attention_mask"]}
    export(encoder, (ids, torch.ones_like(ids)), "bert_fp16", list(axes), axes)


os.makedirs(FOLDER, exist_ok=True)
torch.manual_seed(1)
for make in [mlp, resnet50, bert]:
    make()
