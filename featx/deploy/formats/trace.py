"""A Keras network as one TensorFlow function, which the other formats are converted from."""

from __future__ import annotations

from typing import Any

from featx.deploy.spec import INPUT, OUTPUT


def signature(network: Any) -> Any:
    """Return the TensorSpec of the network's input, the number of images left open."""
    import tensorflow as tf

    _, height, width, _ = network.input_shape
    return tf.TensorSpec((None, height, width, 3), tf.uint8, name=INPUT)


def trace(network: Any) -> Any:
    """Return a tf.function of uint8 images that gives {"probabilities": …}."""
    import tensorflow as tf

    @tf.function(input_signature=[signature(network)], autograph=False)
    def predict(images: Any) -> dict[str, Any]:
        return {OUTPUT: tf.identity(network(images, training=False), OUTPUT)}

    return predict
