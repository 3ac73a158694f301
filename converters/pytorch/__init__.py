"""PyTorch's files: weights in its containers, a net as the source of a module, ONNX. Only what needs torch imports it."""
