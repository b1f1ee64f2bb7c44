"""Show a figure, with words for those who cannot see it."""

import io
import sys
from base64 import b64encode

import numpy as np
from IPython import get_ipython
from IPython.display import display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

# Charts need few colours; a palette makes the file a third as large, and notebooks are kept in git.
COLOURS = 128


class Picture:
    """A PNG and its description, as Jupyter displays it.

    The description is the alt text in exported pages, and what is shown where no picture can be.
    """

    def __init__(self, png: bytes, alt: str):
        self.png = png
        self.alt = alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"image/png": b64encode(self.png).decode("ascii"), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


def show(figure: Figure, *, alt: str) -> None:
    """Display a figure below the cell. Returns nothing, so that it can be a cell's last line.

    Args:
        figure: from this package or from matplotlib.
        alt: what the figure shows, in a sentence or two, for readers who do not see it. No measured numbers:
            they differ from run to run, and this text is compared with the stored one.

    Raises:
        ValueError: no alt text.
    """
    if not alt.strip():
        raise ValueError("show was given no alt text. Say what the figure shows: show(figure, alt='...').")
    picture = Picture(png_of(figure), " ".join(alt.split()))
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        # Jupyter would show a figure that pyplot made a second time when the cell ends.
        pyplot.close(figure)
    if get_ipython() is None:
        print(picture)
    else:
        display(picture)


def png_of(figure: Figure) -> bytes:
    """The figure as a small PNG."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgb = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    few = rgb.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, "PNG", optimize=True)
    return file.getvalue()
