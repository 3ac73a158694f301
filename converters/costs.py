"""What a layer costs to compute."""

from math import prod


def multiply_adds(layer, bottom, top, weight):
    """How many multiplications with additions a forward pass of one layer takes; 0 where there are none to speak of.

    layer: LayerParameter. bottom, top, weight: shapes, of its first blobs; None where it has no weights. Every weight of a
    convolution meets every pixel of the top, of a deconvolution every pixel of the bottom. Biases do not count.
    """
    if layer.type == "Convolution":
        return prod(weight) * top[0] * prod(top[2:])
    if layer.type == "Deconvolution":
        return prod(weight) * bottom[0] * prod(bottom[2:])
    if layer.type == "InnerProduct":
        return prod(weight) * (prod(top) // layer.inner_product_param.num_output)
    return 0
