"""The models of `make bench-cuda`, into a folder: random weights, as only their architecture matters here.

Needs torch, torchvision and onnx; uses a GPU where there is one. A model that is there already is left.
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


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, mask):
        def split(y):
            return y.view(y.shape[0], y.shape[1], self.heads, -1).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        weights = torch.matmul(query, key.transpose(2, 3)) * (query.shape[-1] ** -0.5) + mask
        seen = torch.matmul(torch.softmax(weights, -1), value).transpose(1, 2)
        x = self.first(x + self.out(seen.reshape(x.shape)))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """BERT-base: 12 layers of 768, 12 heads; of its outputs the one that has no steps.

    Written out, because what transformers exports builds its mask with operators that ONNX Runtime leaves on the CPU:
    each run would wait for the device in the middle.
    """

    def __init__(self, tokens=30_522, longest=512, width=768, layers=12, heads=12):
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.places = nn.Parameter(torch.randn(1, longest, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.pooler = nn.Linear(width, width)

    def forward(self, input_ids, attention_mask):
        x = self.tokens(input_ids) + self.places[:, : input_ids.shape[1]]
        mask = ((1 - attention_mask) * -10_000).to(x.dtype)[:, None, None]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        return torch.tanh(self.pooler(x[:, 0]))


def bert():
    encoder = Encoder().eval().half().to(DEVICE)
    ids = torch.randint(1_000, 20_000, (2, 128)).to(DEVICE)
    axes = {name: {0: "n", 1: "l"} for name in ["input_ids", "attention_mask"]}
    export(encoder, (ids, torch.ones_like(ids)), "bert_fp16", list(axes), axes)


os.makedirs(FOLDER, exist_ok=True)
torch.manual_seed(1)
for make in [mlp, resnet50, bert]:
    make()
