"""The miniature: the paper's experiment on drawn pictures, small enough for a laptop."""
