"""Pictures of images, models and catalogues, for quality assurance and for papers.

Every function returns a `matplotlib.figure.Figure` that belongs to no window system: save it with
``figure.savefig("name.png")``, or leave it as the last line of a notebook cell. Matplotlib comes with the
extra ``plot``.
"""

from celestepy.plot.checks import pulls, star_probability
from celestepy.plot.color import color_image
from celestepy.plot.deblending import deblended, draw_blends
from celestepy.plot.field import draw_field
from celestepy.plot.learned_prior import learned_prior
from celestepy.plot.population import population
from celestepy.plot.residual import model_and_residual
from celestepy.plot.source import posterior

__all__ = [
    "color_image",
    "deblended",
    "draw_blends",
    "draw_field",
    "learned_prior",
    "model_and_residual",
    "population",
    "posterior",
    "pulls",
    "star_probability",
]
