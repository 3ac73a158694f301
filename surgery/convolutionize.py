def convolutionize(net, blobs=None):
    raise NotImplementedError
