"""Weights that torchvision publishes: `torchvision:ARCHITECTURE[@WEIGHTS]`.

Which file each name means, and how its images were prepared, is what
`torchvision.models.*_Weights` say (torchvision 0.29), all with the transform
`torchvision.transforms._presets.ImageClassification`: the short side resized
with antialias, the centre cropped, ImageNet's mean and standard deviation.
`benchmarks/parity.py` compares this table with torchvision itself.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.download import download
from tltool.support.errors import BackboneError
from tltool.support.files import cache_dir

PREFIX = "torchvision:"
ENDPOINT = "https://download.pytorch.org/models"
"""Where the files are; `TLTOOL_TORCHVISION_ENDPOINT` names a mirror."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class _Published(NamedTuple):
    """A file, and how its images are resized and cropped.

    Attributes:
        file: Its name ends in the first digits of its sha256.
        resize_px: Length of the short side.
        crop_px: Side of the square in the middle.
    """

    file: str
    resize_px: int = 256
    crop_px: int = 224
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


_V1, _V2 = "IMAGENET1K_V1", "IMAGENET1K_V2"
# What torchvision calls DEFAULT comes first.
PUBLISHED: dict[str, dict[str, _Published]] = {
    "resnet18": {_V1: _Published("resnet18-f37072fd.pth")},
    "resnet34": {_V1: _Published("resnet34-b627a593.pth")},
    "resnet50": {
        _V2: _Published("resnet50-11ad3fa6.pth", 232),
        _V1: _Published("resnet50-0676ba61.pth"),
    },
    "resnet101": {
        _V2: _Published("resnet101-cd907fc2.pth", 232),
        _V1: _Published("resnet101-63fe2227.pth"),
    },
    "resnet152": {
        _V2: _Published("resnet152-f82ba261.pth", 232),
        _V1: _Published("resnet152-394f9c45.pth"),
    },
    "densenet121": {_V1: _Published("densenet121-a639ec97.pth")},
    "densenet169": {_V1: _Published("densenet169-b2777c0a.pth")},
    "densenet201": {_V1: _Published("densenet201-c1103571.pth")},
    "vgg11": {_V1: _Published("vgg11-8a719046.pth")},
    "vgg13": {_V1: _Published("vgg13-19584684.pth")},
    "vgg16": {_V1: _Published("vgg16-397923af.pth")},
    "vgg19": {_V1: _Published("vgg19-dcbb9e9d.pth")},
    "vgg11_bn": {_V1: _Published("vgg11_bn-6002323d.pth")},
    "vgg13_bn": {_V1: _Published("vgg13_bn-abd245e5.pth")},
    "vgg16_bn": {_V1: _Published("vgg16_bn-6c64b313.pth")},
    "vgg19_bn": {_V1: _Published("vgg19_bn-c79401a0.pth")},
    "mobilenet_v2": {
        _V2: _Published("mobilenet_v2-7ebf99e0.pth", 232),
        _V1: _Published("mobilenet_v2-b0353104.pth"),
    },
    "mobilenet_v3_small": {_V1: _Published("mobilenet_v3_small-047dcff4.pth")},
    "mobilenet_v3_large": {
        _V2: _Published("mobilenet_v3_large-5c1a4163.pth", 232),
        _V1: _Published("mobilenet_v3_large-8738ca79.pth"),
    },
    "efficientnet_b0": {
        _V1: _Published("efficientnet_b0_rwightman-7f5810bc.pth", 256, 224, "bicubic")
    },
    "efficientnet_b1": {
        _V2: _Published("efficientnet_b1-c27df63c.pth", 255, 240),
        _V1: _Published("efficientnet_b1_rwightman-bac287d4.pth", 256, 240, "bicubic"),
    },
    "efficientnet_b2": {
        _V1: _Published("efficientnet_b2_rwightman-c35c1473.pth", 288, 288, "bicubic")
    },
    "efficientnet_b3": {
        _V1: _Published("efficientnet_b3_rwightman-b3899882.pth", 320, 300, "bicubic")
    },
    "efficientnet_b4": {
        _V1: _Published("efficientnet_b4_rwightman-23ab8bcd.pth", 384, 380, "bicubic")
    },
    "efficientnet_b5": {
        _V1: _Published("efficientnet_b5_lukemelas-1a07897c.pth", 456, 456, "bicubic")
    },
    "efficientnet_b6": {
        _V1: _Published("efficientnet_b6_lukemelas-24a108a5.pth", 528, 528, "bicubic")
    },
    "efficientnet_b7": {
        _V1: _Published("efficientnet_b7_lukemelas-c5b4e57e.pth", 600, 600, "bicubic")
    },
    "convnext_tiny": {_V1: _Published("convnext_tiny-983f1562.pth", 236)},
    "convnext_small": {_V1: _Published("convnext_small-0c510722.pth", 230)},
    "convnext_base": {_V1: _Published("convnext_base-6075fbad.pth", 232)},
    "vit_b_16": {_V1: _Published("vit_b_16-c867db91.pth")},
    "vit_b_32": {_V1: _Published("vit_b_32-d86f8d99.pth")},
    "swin_t": {_V1: _Published("swin_t-704ceda3.pth", 232, 224, "bicubic")},
    "swin_s": {_V1: _Published("swin_s-5e29d889.pth", 246, 224, "bicubic")},
    "swin_b": {_V1: _Published("swin_b-68c6b09e.pth", 238, 224, "bicubic")},
}


class TorchvisionWeights(NamedTuple):
    """An architecture of torchvision, and one of the sets of weights that it has there."""

    architecture: str
    weights: str

    @classmethod
    def parse(cls, name: str) -> TorchvisionWeights:
        """What `torchvision:ARCHITECTURE` or `torchvision:ARCHITECTURE@WEIGHTS` means.

        Without weights, it is what torchvision calls `DEFAULT`.

        Raises:
            BackboneError: The architecture is not known to be computed rightly
                here, or has no weights of that name.
        """
        architecture, _, weights = name.removeprefix(PREFIX).partition("@")
        published = PUBLISHED.get(architecture)
        if published is None:
            raise BackboneError(
                f"Backbone {name!r}: torchvision's {architecture!r} is not known to be computed "
                f"rightly here. Known are: {', '.join(PUBLISHED)}.",
                hint="loading another one anyway would give other features than the original's",
            )
        if weights and weights not in published:
            raise BackboneError(
                f"Backbone {name!r}: torchvision has no weights {weights!r} that are known here.",
                hint=f"write one of {', '.join(f'{architecture}@{own}' for own in published)}",
            )
        return cls(architecture, weights or next(iter(published)))

    @property
    def name(self) -> str:
        """In full, so that it means the same when torchvision has newer ones."""
        return f"{PREFIX}{self.architecture}@{self.weights}"

    @property
    def preprocessing(self) -> ImagePreprocessing:
        """How images are prepared for these weights."""
        published = PUBLISHED[self.architecture][self.weights]
        red, green, blue = (255.0 * value for value in _MEAN)
        red_std, green_std, blue_std = (255.0 * value for value in _STD)
        return ImagePreprocessing(
            size_px=(published.crop_px, published.crop_px),
            resize_px=published.resize_px,
            interpolation=published.interpolation,
            antialias=True,
            mean=(red, green, blue),
            std=(red_std, green_std, blue_std),
        )

    @property
    def path(self) -> Path:
        """Where the cache has the file, in a folder of its own."""
        file = PUBLISHED[self.architecture][self.weights].file
        return cache_dir() / "torchvision" / file.removesuffix(".pth") / file


def fetch_torchvision(weights: TorchvisionWeights) -> Path:
    """The file of weights, downloaded where it is not cached.

    Raises:
        BackboneError: It cannot be had, or its sha256 does not begin as its name says.
    """
    target = weights.path
    server = os.environ.get("TLTOOL_TORCHVISION_ENDPOINT", ENDPOINT).rstrip("/")
    match = re.fullmatch(r".+-([0-9a-f]{8})\.pth", target.name)
    if match is None:
        raise ValueError(f"the name {target.name!r} has no checksum")
    try:
        return download(f"{server}/{target.name}", target, checksum=f"sha256:{match[1]}")
    except BackboneError as error:
        raise BackboneError(f"{weights.name}: {error.message}", hint=error.hint) from error
