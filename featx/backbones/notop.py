"""ImageNet weights without the classifier: names, origins and checksums of Keras's files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_BUCKET = "https://storage.googleapis.com/"
_APPS = f"{_BUCKET}tensorflow/keras-applications/"

# name, file, MD5 or SHA-256; {tf} is the long ending that older files share
_FILES = """
vgg16               vgg16/vgg16{tf} 6d6bbae143d832006294945121d1f1fc
vgg19               vgg19/vgg19{tf} 253f8cb515780f3b799900260a226db6
resnet50            resnet/resnet50{tf} 4d473c1dd8becc155b73f8504c6f6626
resnet101           resnet/resnet101{tf} 88cf7a10940856eca736dc7b7e228a21
resnet152           resnet/resnet152{tf} ee4c566cf9a93f14d82f913c2dc6dd0c
resnet50_v2         resnet/resnet50v2{tf} fac2f116257151a9d068a22e544a4917
resnet101_v2        resnet/resnet101v2{tf} c0ed64b8031c3730f411d2eb4eea35b5
resnet152_v2        resnet/resnet152v2{tf} ed17cf2e0169df9d443503ef94b23b33
inception_v3        inception_v3/inception_v3{tf} bcbd6486424b2319ff4ef7d526e38f63
inception_resnet_v2 inception_resnet_v2/inception_resnet_v2{tf} d19885ff4a710c122648d3b5c3b684e4
xception            xception/xception{tf} b0042744bf5b25fce3cb969f33bebb97
densenet121         densenet/densenet121{tf} 30ee3e1110167f948a6b9946edeeb738
densenet169         densenet/densenet169{tf} b8c4d4c20dd625c148057b9ff1c1176b
densenet201         densenet/densenet201{tf} c13680b51ded0fb44dff2d8f86ac8bb1
nasnet_mobile       nasnet/NASNet-mobile-no-top.h5 1ed92395b5b598bdda52abe5c0dbfd63
nasnet_large        nasnet/NASNet-large-no-top.h5 d81d89dc07e6e56530c4e77faddd61b5
efficientnet_b0     efficientnetb0_notop.h5 50bc09e76180e00e4465e1a485ddc09d
efficientnet_b1     efficientnetb1_notop.h5 74c4e6b3e1f6a1eea24c589628592432
efficientnet_b2     efficientnetb2_notop.h5 111f8e2ac8aa800a7a99e3239f7bfb39
efficientnet_b3     efficientnetb3_notop.h5 af6d107764bb5b1abb91932881670226
efficientnet_b4     efficientnetb4_notop.h5 ebc24e6d6c33eaebbd558eafbeedf1ba
efficientnet_b5     efficientnetb5_notop.h5 38879255a25d3c92d5e44e04ae6cec6f
efficientnet_b6     efficientnetb6_notop.h5 9ecce42647a20130c1f39a5d4cb75743
efficientnet_b7     efficientnetb7_notop.h5 cbcfe4450ddf6f3ad90b1b398090fe4a
efficientnet_v2_b0  efficientnet_v2/efficientnetv2-b0_notop.h5 893217f2bb855e2983157299931e43ff
efficientnet_v2_b1  efficientnet_v2/efficientnetv2-b1_notop.h5 0e80663031ca32d657f9caa404b6ec37
efficientnet_v2_b2  efficientnet_v2/efficientnetv2-b2_notop.h5 1dfe2e7a5d45b6632553a8961ea609eb
efficientnet_v2_b3  efficientnet_v2/efficientnetv2-b3_notop.h5 f6abf7b5849ac99a89b50dd3fd532856
efficientnet_v2_s   efficientnet_v2/efficientnetv2-s_notop.h5 af0682fb74e8c54910f2d4393339c070
efficientnet_v2_m   efficientnet_v2/efficientnetv2-m_notop.h5 1b8dc055df72dde80d614482840fe342
efficientnet_v2_l   efficientnet_v2/efficientnetv2-l_notop.h5 b0b66b5c863aef5b46e8608fe1711615
convnext_tiny       convnext/convnext_tiny_notop.h5 d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1
convnext_small      convnext/convnext_small_notop.h5 6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab
convnext_base       convnext/convnext_base_notop.h5 40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45
convnext_large      convnext/convnext_large_notop.h5 96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd
convnext_xlarge     convnext/convnext_xlarge_notop.h5 de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05
"""  # noqa: E501

_RENAMED = {"nasnet_mobile": "nasnet_mobile_no_top.h5", "nasnet_large": "nasnet_large_no_top.h5"}

_MOBILENET_V3_MD5 = {
    ("small", 0.75, False): "ebdb5cc8e0b497cd13a7c275d475c819",
    ("small", 1.0, False): "d3e8ec802a04aa4fc771ee12a9a9b836",
    ("small", 1.0, True): "cde8136e733e811080d9fcd8a252f7e4",
    ("large", 0.75, False): "40af19a13ebea4e2ee0c676887f69a2e",
    ("large", 1.0, False): "07fb09a5933dd0c8eaafa16978110389",
    ("large", 1.0, True): "ec5221f64a2f6d1ef965a614bdae7973",
}


@dataclass(frozen=True, slots=True)
class NotopFile:
    """An ImageNet weights file without the classifier.

    Attributes
    ----------
    name : str
        File name below models/ in Keras's cache.
    url : str
        Where Keras downloads it from.
    checksum : str
        MD5 or SHA-256 in hex that Keras holds the download against; "" where it checks nothing.
    """

    name: str
    url: str
    checksum: str = ""


NotopFiles = dict[tuple[tuple[Any, ...], int], NotopFile]
"""Files of one backbone by (values of its parameters, input size); size 0 stands for any."""


def _single_files() -> dict[str, NotopFiles]:
    files = {}
    for line in _FILES.split("\n")[1:-1]:
        name, path, checksum = line.split()
        path = path.format(tf="_weights_tf_dim_ordering_tf_kernels_notop.h5")
        # EfficientNet's files lie in a bucket folder of their own.
        url = (_APPS if "/" in path else f"{_BUCKET}keras-applications/") + path
        file_name = _RENAMED.get(name, path.rpartition("/")[2])
        files[name] = {((), 0): NotopFile(file_name, url, checksum)}
    return files


def _mobilenet() -> NotopFiles:
    files = {}
    for alpha, word in ((0.25, "2_5"), (0.5, "5_0"), (0.75, "7_5"), (1.0, "1_0")):
        for size in (128, 160, 192, 224):
            name = f"mobilenet_{word}_{size}_tf_no_top.h5"
            files[(alpha, 1), size] = NotopFile(name, f"{_APPS}mobilenet/{name}")
        files[(alpha, 1), 0] = files[(alpha, 1), 224]
    return files


def _mobilenet_v2() -> NotopFiles:
    files = {}
    for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
        for size in (96, 128, 160, 192, 224):
            stem = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
            name = f"{stem}_{alpha}_{size}_no_top.h5"
            files[(alpha,), size] = NotopFile(name, f"{_APPS}mobilenet_v2/{name}")
        files[(alpha,), 0] = files[(alpha,), 224]
    return files


def _mobilenet_v3(model: str) -> NotopFiles:
    files = {}
    for (owner, alpha, minimalistic), md5 in _MOBILENET_V3_MD5.items():
        if owner == model:
            word = "_minimalistic" if minimalistic else ""
            name = f"weights_mobilenet_v3_{model}{word}_224_{alpha}_float_no_top_v2.h5"
            file = NotopFile(name, f"{_APPS}mobilenet_v3/{name}", md5)
            files[(alpha, minimalistic), 0] = file
    return files


NOTOP: dict[str, NotopFiles] = {
    **_single_files(),
    "mobilenet": _mobilenet(),
    "mobilenet_v2": _mobilenet_v2(),
    "mobilenet_v3_small": _mobilenet_v3("small"),
    "mobilenet_v3_large": _mobilenet_v3("large"),
}
"""All files by catalog name."""

# ImageNet files of EfficientNet with the classifier.
_EFFICIENTNET_TOP_MD5 = {
    "efficientnet_b0": "902e53a9f72be733fc0bcb005b3ebbac",
    "efficientnet_b1": "1d254153d4ab51201f1646940f018540",
    "efficientnet_b2": "b15cce36ff4dcbd00b6dd88e7857a6ad",
    "efficientnet_b3": "ffd1fdc53d0ce67064dc6a9c7960ede0",
    "efficientnet_b4": "18c95ad55216b8f92d7e70b3a046e2fc",
    "efficientnet_b5": "ace28f2a6363774853a83a0b21b9421a",
    "efficientnet_b6": "165f6e37dce68623721b423839de8be5",
    "efficientnet_b7": "8c03f828fec3ef71311cd463b6759d99",
}

EFFICIENTNET_MD5 = {
    name: (top, NOTOP[name][(), 0].checksum) for name, top in _EFFICIENTNET_TOP_MD5.items()
}
"""MD5 of both ImageNet files of each EfficientNet."""
