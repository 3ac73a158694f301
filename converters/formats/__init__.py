"""Caffe's files: caffemodels of every generation, HDF5, prototxts, solver states, single blobs; none needs torch."""
