"""How good label maps are: metrics, trimaps, bounds, and what VOC's server takes."""

from converters import exports

__getattr__, __dir__, __all__ = exports(__name__, {"repro.scoring.evaluation": ("evaluate", "score")})
