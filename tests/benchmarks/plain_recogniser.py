"""The recogniser written down plainly, step by step as its paper and the reference's checkpoints say.

This is what ours is compared with: the same function without any reassociation. Projections run over all frames and
are averaged afterwards, every temporal branch has its own 1×1 convolution, the constraint head builds the tensor
persons × channels × classes × joints, nothing is reused or done in place. Its parameters have the names of the
reference's checkpoints, and ``tests/train/model/test_plain_recogniser.py`` holds it to the recorded values.

Sources: DG-STGCN (Duan et al. 2022), sections 3.2 and 3.3; CLIP (Radford et al. 2021), section 2.4, for the text tower.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SUBSETS = 8
WIDTHS = {"embedding": (96, 96, 96, 192, 192, 192, 384, 384, 384), "plain": (96,) * 4 + (192,) * 3 + (384,) * 3}
TEXT_DIMENSIONS = 512


class GraphConv(nn.Module):
    """Graph convolution with learned, relation and attention graphs, projected at every frame."""

    def __init__(self, channels_in: int, channels_out: int, joints: int) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.randn(SUBSETS, joints, joints) * 0.02 + 0.04)
        self.alpha = nn.Parameter(torch.zeros(SUBSETS))
        self.beta = nn.Parameter(torch.zeros(SUBSETS))
        self.pre = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1), nn.BatchNorm2d(channels_out), nn.ReLU())
        self.conv1 = nn.Conv2d(channels_in, channels_out, 1)
        self.conv2 = nn.Conv2d(channels_in, channels_out, 1)
        self.post = nn.Conv2d(channels_out, channels_out, 1)
        self.bn = nn.BatchNorm2d(channels_out)
        if channels_in != channels_out:
            self.down = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1), nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, frames, joints = x.shape
        shortcut = self.down(x) if hasattr(self, "down") else x
        features = self.pre(x).reshape(batch, SUBSETS, -1, frames, joints)
        source = self.conv1(x).mean(dim=2).reshape(batch, SUBSETS, -1, joints)
        target = self.conv2(x).mean(dim=2).reshape(batch, SUBSETS, -1, joints)
        relation = torch.tanh(source[..., :, None] - target[..., None, :])
        attention = torch.einsum("nkcv,nkcw->nkvw", source, target).softmax(dim=-2)
        graph = self.A[None, :, None] + self.alpha[0] * relation
        graph = graph + self.beta[0] * attention[:, :, None]
        mixed = torch.einsum("nkctv,nkcvw->nkctw", features, graph).reshape(batch, -1, frames, joints)
        return F.relu(self.bn(self.post(mixed)) + shortcut)


class TimeConv(nn.Module):
    """A convolution over time under the name that checkpoints give it."""

    def __init__(self, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, (3, 1), (stride, 1), (dilation, 0), (dilation, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class TemporalConv(nn.Module):
    """Six branches, each from its own projection, over the joints and their mean."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        width = channels // 6
        first = channels - 5 * width
        pool = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        scales: list[nn.Module] = [*(TimeConv(first if d == 1 else width, stride, d) for d in (1, 2, 3, 4)), pool]
        branches: list[nn.Module] = []
        for number, scale in enumerate(scales):
            wide = width if number else first
            branches.append(nn.Sequential(nn.Conv2d(channels, wide, 1), nn.BatchNorm2d(wide), nn.ReLU(), scale))
        branches.append(nn.Conv2d(channels, width, 1, stride=(stride, 1)))
        self.branches = nn.ModuleList(branches)
        self.add_coeff = nn.Parameter(torch.zeros(25))
        self.transform = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1))
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        joints = x.shape[-1]
        x = torch.cat([x, x.mean(dim=-1, keepdim=True)], dim=-1)
        x = torch.cat([branch(x) for branch in self.branches], dim=1)
        spread = torch.einsum("nct,v->nctv", x[..., joints], self.add_coeff[:joints])
        return self.bn(self.transform(x[..., :joints] + spread))


class Residual(nn.Module):
    """The projection beside a block that changes the width."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 1, stride=(stride, 1))
        self.bn = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Block(nn.Module):
    """Graph convolution, temporal convolution, residual."""

    def __init__(self, channels_in: int, channels_out: int, joints: int, *, stride: int, residual: bool) -> None:
        super().__init__()
        self.gcn = GraphConv(channels_in, channels_out, joints)
        self.tcn = TemporalConv(channels_out, stride)
        self.has_residual = residual
        if residual and channels_in != channels_out:
            self.residual = Residual(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.tcn(self.gcn(x))
        if self.has_residual:
            out = out + (self.residual(x) if hasattr(self, "residual") else x)
        return F.relu(out)


class Backbone(nn.Module):
    """Stem, blocks, constraint head and text-space head."""

    def __init__(self, stem: Literal["embedding", "plain"], joints: int, persons: int, classes: int) -> None:
        super().__init__()
        self.embeds = stem == "embedding"
        width = 3
        if self.embeds:
            width = WIDTHS[stem][0]
            self.to_joint_embedding = nn.Linear(3, width)
            self.pos_embedding = nn.Parameter(torch.zeros(1, joints, width))
        self.data_bn = nn.BatchNorm1d((persons if self.embeds else 1) * joints * width)
        blocks = []
        for number, wider in enumerate(WIDTHS[stem]):
            stride = 2 if number and wider > width else 1
            residual = self.embeds or number > 0
            blocks.append(Block(width, wider, joints, stride=stride, residual=residual))
            width = wider
        self.gcn = nn.ModuleList(blocks)
        self.examplar = nn.Parameter(torch.zeros(classes, joints, joints), requires_grad=False)
        self.direct_fc = nn.Conv2d(width, 1, 1)
        self.linear_head = nn.ModuleDict({"ViT-B/32": nn.Linear(width, TEXT_DIMENSIONS)})
        self.logit_scale = nn.Parameter(torch.full((1, 1), 2.6592600))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, persons = x.shape[:2]
        x = self._stem(x)
        for block in self.gcn:
            x = block(x)
        features = x.mean(dim=2)
        critical = torch.einsum("nmv,cvu->nmcu", features, self.examplar)
        constraint = self.direct_fc(critical)[:, 0].mean(dim=2).reshape(batch, persons, -1).mean(dim=1)
        pooled = features.mean(dim=2).reshape(batch, persons, -1).mean(dim=1)
        return x.reshape(batch, persons, *x.shape[1:]), constraint, self.linear_head["ViT-B/32"](pooled)

    def _stem(self, x: Tensor) -> Tensor:
        batch, persons, frames, joints, _ = x.shape
        if self.embeds:
            x = self.to_joint_embedding(x) + self.pos_embedding
        together = batch if self.embeds else batch * persons
        x = self.data_bn(x.permute(0, 1, 3, 4, 2).reshape(together, -1, frames))
        return x.reshape(batch * persons, joints, -1, frames).permute(0, 2, 3, 1).contiguous()


class ClassHead(nn.Module):
    """Mean over persons, frames and joints, then a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc_cls = nn.Linear(384, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc_cls(x.mean(dim=(3, 4)).mean(dim=1))


class PlainRecogniser(nn.Module):
    """Skeletons ``[N, M, T, V, 3]`` to class logits, constraint logits and text-space features."""

    def __init__(self, stem: Literal["embedding", "plain"], joints: int, persons: int, classes: int) -> None:
        super().__init__()
        self.backbone = Backbone(stem, joints, persons, classes)
        self.cls_head = ClassHead(classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, constraint, alignment = self.backbone(x)
        return self.cls_head(features), constraint, alignment


class TextTower(nn.Module):
    """A text transformer of the size of CLIP ViT-B/32's, 63.4 million parameters, for tokens ``[N, 77]``."""

    def __init__(self, vocabulary: int = 49_408, length: int = 77, width: int = TEXT_DIMENSIONS) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.01)
        layer = nn.TransformerEncoderLayer(
            width, width // 64, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 12, nn.LayerNorm(width), enable_nested_tensor=False)
        self.projection = nn.Parameter(torch.randn(width, width) * width**-0.5)
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.layers(self.tokens(tokens) + self.positions, mask=self.causal)
        return x[torch.arange(len(x)), tokens.argmax(dim=1)] @ self.projection
