"""A shown figure is a small PNG with a description, and leaves nothing else behind."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from course_lib.lab import picture
from course_lib.lab.picture import Picture, png_of, show
from course_lib.lab.plots import bars, new_figure


@pytest.fixture
def figure():
    return bars({"naive": 2.0, "yours": 1.0}, quantity="time", unit="s")


@pytest.fixture
def displayed(monkeypatch):
    """What a notebook would be sent."""
    sent = []
    monkeypatch.setattr(picture, "get_ipython", lambda: object())
    monkeypatch.setattr(picture, "display", sent.append)
    return sent


def test_the_png_is_as_large_as_the_style_says_and_small_in_bytes(figure):
    png = png_of(figure)
    assert Image.open(io.BytesIO(png)).size[0] == 770
    assert len(png) < 20_000


def test_colours_survive_the_palette(figure):
    colours = {c for _, c in Image.open(io.BytesIO(png_of(figure))).convert("RGB").getcolors(1 << 20)}
    wanted = [(0x76, 0x76, 0x76), (0xD5, 0x5E, 0x00), (255, 255, 255)]
    for colour in wanted:
        assert min(np.abs(np.subtract(colour, c)).max() for c in colours) <= 4, colour


def test_the_ground_is_white_and_opaque_so_that_dark_themes_do_not_swallow_the_text(figure):
    image = Image.open(io.BytesIO(png_of(figure)))
    assert "transparency" not in image.info
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_a_notebook_gets_the_picture_and_its_description(figure, displayed):
    assert show(figure, alt="Yours takes\n    half the time.") is None
    data, metadata = displayed[0]._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert data["text/plain"] == "Yours takes half the time."
    assert metadata["image/png"]["alt"] == "Yours takes half the time."
    json.dumps(data)


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_without_a_description_is_refused(figure, alt):
    with pytest.raises(ValueError, match="no alt text"):
        show(figure, alt=alt)


def test_outside_a_notebook_the_description_is_printed(figure, capsys):
    show(figure, alt="Two bars.")
    assert capsys.readouterr().out == "Two bars.\n"


def test_a_pyplot_figure_is_not_shown_a_second_time(displayed):
    from matplotlib import pyplot

    figure, _ = pyplot.subplots()
    show(figure, alt="An empty chart.")
    assert not pyplot.fignum_exists(getattr(figure, "number", -1))
    assert not pyplot.get_fignums()


def test_the_courses_figures_never_enter_pyplots_list():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    new_figure()
    assert pyplot.get_fignums() == before


def test_importing_the_plots_sets_the_style_without_pyplot():
    code = "import sys, matplotlib, course_lib.lab.plots; print('matplotlib.pyplot' in sys.modules, "
    code += "matplotlib.rcParams['axes.spines.top'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]


def test_a_picture_can_be_a_cells_last_value_without_its_bytes_in_the_text():
    assert repr(Picture(b"not shown", "A chart.")) == "A chart."
