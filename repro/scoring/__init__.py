"""How good label maps are: metrics, trimaps, bounds, and what VOC's server takes."""
