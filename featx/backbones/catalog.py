"""Every backbone of keras.applications, as data: listing and key computation import no Keras.

Sizes, widths, parameter counts and weight files are held against Keras by a test; accuracies are
those that Keras publishes (https://keras.io/api/applications/, for MobileNetV3 its docstring).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featx.backbones.notop import NOTOP, NotopFile, NotopFiles
from featx.registry import Registry

_PARAMS: dict[str, dict[str, Any]] = {
    "mobilenet": {"alpha": 1.0, "depth_multiplier": 1},
    "mobilenet_v2": {"alpha": 1.0},
    "mobilenet_v3_small": {"alpha": 1.0, "minimalistic": False},
    "mobilenet_v3_large": {"alpha": 1.0, "minimalistic": False},
}

# name, function, preprocessing, size, minimum size, width, parameters, top-1
_FACTS = """
vgg16               VGG16             vgg16               224 32  512  14714688 71.3
vgg19               VGG19             vgg19               224 32  512  20024384 71.3
resnet50            ResNet50          resnet              224 32 2048  23587712 74.9
resnet101           ResNet101         resnet              224 32 2048  42658176 76.4
resnet152           ResNet152         resnet              224 32 2048  58370944 76.6
resnet50_v2         ResNet50V2        resnet_v2           224 32 2048  23564800 76.0
resnet101_v2        ResNet101V2       resnet_v2           224 32 2048  42626560 77.2
resnet152_v2        ResNet152V2       resnet_v2           224 32 2048  58331648 78.0
inception_v3        InceptionV3       inception_v3        299 75 2048  21802784 77.9
inception_resnet_v2 InceptionResNetV2 inception_resnet_v2 299 75 1536  54336736 80.3
xception            Xception          xception            299 71 2048  20861480 79.0
mobilenet           MobileNet         mobilenet           224 32 1024   3228864 70.4
mobilenet_v2        MobileNetV2       mobilenet_v2        224 32 1280   2257984 71.3
mobilenet_v3_small  MobileNetV3Small  mobilenet_v3        224 32  576    939120 68.1
mobilenet_v3_large  MobileNetV3Large  mobilenet_v3        224 32  960   2996352 75.6
densenet121         DenseNet121       densenet            224 32 1024   7037504 75.0
densenet169         DenseNet169       densenet            224 32 1664  12642880 76.2
densenet201         DenseNet201       densenet            224 32 1920  18321984 77.3
nasnet_mobile       NASNetMobile      nasnet              224 32 1056   4269716 74.4
nasnet_large        NASNetLarge       nasnet              331 32 4032  84916818 82.5
efficientnet_b0     EfficientNetB0    efficientnet        224 32 1280   4049571 77.1
efficientnet_b1     EfficientNetB1    efficientnet        240 32 1280   6575239 79.1
efficientnet_b2     EfficientNetB2    efficientnet        260 32 1408   7768569 80.1
efficientnet_b3     EfficientNetB3    efficientnet        300 32 1536  10783535 81.6
efficientnet_b4     EfficientNetB4    efficientnet        380 32 1792  17673823 82.9
efficientnet_b5     EfficientNetB5    efficientnet        456 32 2048  28513527 83.6
efficientnet_b6     EfficientNetB6    efficientnet        528 32 2304  40960143 84.0
efficientnet_b7     EfficientNetB7    efficientnet        600 32 2560  64097687 84.3
efficientnet_v2_b0  EfficientNetV2B0  efficientnet_v2     224 32 1280   5919312 78.7
efficientnet_v2_b1  EfficientNetV2B1  efficientnet_v2     240 32 1280   6931124 79.8
efficientnet_v2_b2  EfficientNetV2B2  efficientnet_v2     260 32 1408   8769374 80.5
efficientnet_v2_b3  EfficientNetV2B3  efficientnet_v2     300 32 1536  12930622 82.0
efficientnet_v2_s   EfficientNetV2S   efficientnet_v2     384 32 1280  20331360 83.9
efficientnet_v2_m   EfficientNetV2M   efficientnet_v2     480 32 1280  53150388 85.3
efficientnet_v2_l   EfficientNetV2L   efficientnet_v2     480 32 1280 117746848 85.7
convnext_tiny       ConvNeXtTiny      convnext            224 32  768  27820128 81.3
convnext_small      ConvNeXtSmall     convnext            224 32  768  49454688 82.3
convnext_base       ConvNeXtBase      convnext            224 32 1024  87566464 85.3
convnext_large      ConvNeXtLarge     convnext            224 32 1536 196230336 86.3
convnext_xlarge     ConvNeXtXLarge    convnext            224 32 2048 348147968 86.7
"""


@dataclass(frozen=True, slots=True)
class BackboneRow:
    """One backbone of keras.applications.

    Attributes
    ----------
    name : str
        Catalog name.
    builder : str
        "module:attribute" of the function that builds it.
    preprocess : str
        Module of keras.applications whose `preprocess_input` belongs to it.
    size, min_size : int
        Default and smallest height and width, in pixels.
    width : int
        Channels of the last feature map, with default parameters.
    parameters : int
        Number of weights without the classifier, with default parameters.
    top1 : float
        ImageNet top-1 accuracy in per cent, as published by Keras.
    notop : mapping of (parameter values, size) to NotopFile
        ImageNet weights by the values of `params`, in their order, and the input size (0: any).
    params : mapping
        Builder parameters that change features, with Keras's defaults.
    """

    name: str
    builder: str
    preprocess: str
    size: int
    min_size: int
    width: int
    parameters: int
    top1: float
    notop: NotopFiles
    params: Mapping[str, Any] = field(default_factory=dict)

    def find_notop(self, bound: Mapping[str, Any], height: int, width: int) -> NotopFile | None:
        """Return the ImageNet file for the parameters `bound`; None where Keras has none.

        Some backbones were trained at several sizes: Keras takes the file of the very size where
        there is one.
        """
        values = tuple(bound[name] for name in self.params)
        exact = self.notop.get((values, height)) if height == width else None
        return exact or self.notop.get((values, 0))


BACKBONES = Registry[BackboneRow]("backbone", hint="See: featx list backbones")
"""Every backbone by its catalog name."""


def _register_all() -> None:
    for line in _FACTS.split("\n")[1:-1]:
        name, function, preprocess, size, min_size, width, parameters, top1 = line.split()
        row = BackboneRow(
            name=name,
            builder=f"keras.applications:{function}",
            preprocess=preprocess,
            size=int(size),
            min_size=int(min_size),
            width=int(width),
            parameters=int(parameters),
            top1=float(top1),
            notop=NOTOP[name],
            params=_PARAMS.get(name, {}),
        )
        BACKBONES.register(name, row)


_register_all()
