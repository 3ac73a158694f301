"""The mean colour that the release subtracts from every image, blue, green, red, in values of 0 to 255."""

VOC = (104.00699, 116.66877, 122.67892)
PASCAL_CONTEXT = (104.007, 116.669, 122.679)
NYUD = (116.190, 97.203, 92.318)
NYUD_HHA = (132.431, 94.076, 118.477)  # in HHA's own order: disparity, height, angle
NYUD_LOG_DEPTH = (7.844,)  # of the natural logarithm of the depth image's values
SIFTFLOW = (114.578, 115.294, 108.353)
