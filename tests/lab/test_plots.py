"""Charts say what they show, with units, and put names where the data is. They are drawn and read back."""

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text

from course_lib.lab import style
from course_lib.lab.plots import bars, breakdown, lines, new_figure


def texts(figure):
    """All text of a figure, as a reader sees it."""
    figure.draw_without_rendering()
    found = [
        t.get_text() for ax in figure.axes for t in [*ax.texts, *ax.get_yticklabels(), *ax.get_xticklabels()]
    ]
    return found + [t for ax in figure.axes for t in (ax.get_xlabel(), ax.get_ylabel(), ax.get_title("left"))]


def boxes(figure):
    """Extents on the page of the text in the charts."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # Of the text alone: an annotation's own extent includes its line.
    return {
        t.get_text(): Text.get_window_extent(t, canvas.get_renderer()) for ax in figure.axes for t in ax.texts
    }


TIMES = {"naive": 0.120, "yours": 0.012, "slower": 0.240}


class TestBars:
    def test_each_bar_has_its_name_and_its_value_with_a_unit(self):
        shown = texts(bars(TIMES, quantity="time a token", unit="s"))
        assert {"naive", "yours", "120 ms", "12.0 ms", "time a token (ms)"} <= set(shown)

    def test_bars_are_as_long_as_their_values_in_the_axis_unit(self):
        (ax,) = bars(TIMES, quantity="time", unit="s").axes
        assert [p.get_width() for p in ax.patches] == pytest.approx([120, 12, 240])

    def test_the_first_name_is_on_top(self):
        (ax,) = bars(TIMES, quantity="time", unit="s").axes
        bottom, top = ax.get_ylim()
        assert bottom > top
        assert ax.get_yticklabels()[0].get_text() == "naive"

    def test_the_others_say_how_many_times_less_or_more(self):
        shown = texts(bars(TIMES, quantity="time", unit="s", relative_to="naive"))
        assert {"120 ms", "12.0 ms  (10.0 times less)", "240 ms  (2.00 times more)"} <= set(shown)

    def test_thousands_are_marked_on_the_axis(self):
        for log in (False, True):
            shown = texts(bars({"a": 90, "b": 4000}, quantity="speed", unit="tokens/s", log=log))
            assert "1,000" in shown and not {"1000", "2000"} & set(shown)

    def test_the_spread_is_drawn_from_low_to_high(self):
        (ax,) = bars(TIMES, quantity="time", unit="s", spread={"yours": (0.011, 0.014)}).axes
        (line,) = ax.lines
        assert line.get_xdata().tolist() == pytest.approx([11, 14])

    def test_zero_and_equal_values_get_no_ratio(self):
        shown = texts(bars({"a": 2, "b": 0, "c": 2}, quantity="copies", unit="", relative_to="a"))
        assert not [t for t in shown if "times" in t]

    def test_a_baseline_that_is_not_there_is_refused(self):
        with pytest.raises(ValueError, match="relative_to='stock' is none of the bars: naive, yours, slower"):
            bars(TIMES, quantity="time", unit="s", relative_to="stock")

    def test_nothing_to_show_is_refused(self):
        with pytest.raises(ValueError, match="nothing to show"):
            bars({}, quantity="time", unit="s")


class TestLines:
    X = [1, 2, 4, 8]
    SERIES = {"naive": [1.0, 2.0, 4.0, 8.0], "yours": [1.0, 1.1, 1.2, 1.3]}

    def draw(self, series=None, **more):
        return lines(
            self.X,
            series or self.SERIES,
            x_quantity="position",
            x_unit="tokens",
            quantity="time",
            unit="s",
            **more,
        )

    def test_axes_carry_quantity_and_unit(self):
        (ax,) = self.draw().axes
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("position (tokens)", "time (s)")

    def test_each_line_is_named_at_its_end_in_its_colour(self):
        (ax,) = self.draw().axes
        for line, text in zip(ax.lines, ax.texts, strict=True):
            assert text.xy == (8, line.get_ydata()[-1])
            assert text.get_color() == style.ink_of(line.get_color())
        assert not ax.get_legend()

    def test_names_of_lines_that_end_together_do_not_overlap(self):
        figure = self.draw({f"contender {i}": [1, 2, 3, 5 + i / 100] for i in range(5)})
        extents = sorted(boxes(figure).values(), key=lambda box: box.y0)
        for below, above in zip(extents, extents[1:], strict=False):
            assert below.y1 <= above.y0 + 1

    def test_the_name_of_a_line_along_the_x_axis_is_not_struck_through_by_it(self):
        figure = self.draw({"high": self.X, "low": [0, 0, 0, 0]})
        axis_line = figure.axes[0].get_window_extent().y0
        assert boxes(figure)["low"].y0 >= axis_line

    def test_thousands_are_marked_on_both_axes(self):
        figure = lines([0, 5000], {"a": [0, 90_000]}, x_quantity="text", x_unit="", quantity="work", unit="")
        assert {"5,000", "80,000"} <= set(texts(figure))

    def test_names_stay_inside_the_picture(self):
        figure = self.draw({"a name that is rather long": self.X})
        (box,) = boxes(figure).values()
        assert box.x1 <= figure.bbox.x1

    def test_a_series_that_stops_early_is_named_where_it_stops(self):
        (ax,) = self.draw({"out of memory": [1, 2, np.nan, np.nan]}).axes
        assert ax.texts[0].xy == (2, 2)

    def test_times_start_at_zero_so_that_heights_can_be_compared(self):
        (ax,) = self.draw({"flat": [5, 5.1, 5, 5.2]}).axes
        assert ax.get_ylim()[0] == 0

    def test_negative_values_stay_visible(self):
        (ax,) = self.draw({"difference": [-1, 0, 1, 2]}).axes
        assert ax.get_ylim()[0] < -1

    def test_powers_of_two_are_the_ticks_of_a_logarithmic_axis(self):
        (ax,) = self.draw(log_x=True, log_y=True).axes
        assert ax.get_xticks().tolist() == self.X
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")

    def test_a_band_lies_behind_its_line_in_the_same_unit(self):
        ms = {"naive": [0.001, 0.002, 0.003, 0.004]}
        (ax,) = self.draw(ms, bands={"naive": ([0.0005] * 4, [0.005] * 4)}).axes
        low, high = ax.collections[0].get_datalim(ax.transData).intervaly
        assert (low, high) == pytest.approx((0.5, 5))

    def test_a_series_of_another_length_is_refused_by_name(self):
        with pytest.raises(ValueError, match="'short' has 2 values, x has 4"):
            self.draw({"short": [1, 2]})

    def test_no_series_is_refused(self):
        with pytest.raises(ValueError, match="no series"):
            lines([1], {}, x_quantity="x", x_unit="", quantity="y", unit="")


class TestBreakdown:
    ROWS = {
        "prefill": {"matmuls": 0.09, "attention": 0.01},
        "decode": {"matmuls": 0.02, "attention": 0.02, "norms": 0.0005},
    }

    def draw(self):
        return breakdown(self.ROWS, quantity="time", unit="s")

    def test_parts_follow_one_another_and_end_at_the_whole(self):
        (ax,) = self.draw().axes
        first, second = ax.patches[:2]
        assert first.get_x() == 0
        assert second.get_x() == pytest.approx(first.get_width()) == pytest.approx(90)
        assert "100 ms" in texts(ax.figure)

    def test_thousands_are_marked_on_the_axis(self):
        shown = texts(breakdown({"all": {"a": 3000, "b": 1000}}, quantity="tokens", unit=""))
        assert "1,000" in shown and "1000" not in shown

    def test_a_part_has_the_same_colour_in_every_row(self):
        (ax,) = self.draw().axes
        colours = [to_hex(p.get_facecolor()) for p in ax.patches]
        assert colours[0] == colours[2] and colours[1] == colours[3]
        assert len(set(colours)) == 3

    def test_large_parts_are_named_inside_and_small_ones_above(self):
        (ax,) = self.draw().axes
        where = {t.get_text(): t for t in ax.texts}
        assert "matmuls\n90 %" in where
        assert where["norms 1 %"].arrow_patch is not None

    def test_names_of_small_parts_do_not_overlap(self):
        rows = {"token": {"matmuls": 100, **{f"small part {i}": 1 for i in range(4)}}}
        small = [
            box for text, box in boxes(breakdown(rows, quantity="time", unit="ms")).items() if "small" in text
        ]
        small.sort(key=lambda box: box.x0)
        assert len(small) == 4
        for left, right in zip(small, small[1:], strict=False):
            assert left.x1 <= right.x0

    def test_a_negative_part_is_refused_by_name(self):
        with pytest.raises(ValueError, match="cannot be negative: rest"):
            breakdown({"a": {"matmuls": 1, "rest": -0.1}}, quantity="time", unit="s")

    @pytest.mark.parametrize("rows", [{}, {"a": {}}])
    def test_nothing_to_show_is_refused(self, rows):
        with pytest.raises(ValueError, match="nothing to show"):
            breakdown(rows, quantity="time", unit="s")


def test_several_charts_share_a_figure():
    figure, (left, right) = new_figure(columns=2)
    assert bars(TIMES, quantity="time", unit="s", ax=left) is figure
    breakdown({"a": {"b": 1}}, quantity="time", unit="s", ax=right)
    assert len(figure.axes) == 2


def test_a_contender_has_one_colour_in_the_whole_course():
    assert style.colour_of("yours", 0) == style.colour_of("yours, threaded", 5) == style.VERMILLION
    assert style.colour_of("MLX", 3) == style.colour_of("mlx-lm", 1) == style.GREEN
    assert style.colour_of("block size 16", 2) == style.CYCLE[2]


def contrast(colour, ground):
    """Contrast ratio of two colours as WCAG 2 defines it."""

    def luminance(c):
        parts = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in matplotlib.colors.to_rgb(c)
        ]
        return float(np.dot([0.2126, 0.7152, 0.0722], parts))

    light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [*style.CYCLE, *style.ROLES.values(), style.YELLOW])
def test_text_can_be_read_in_and_on_every_colour(colour):
    assert contrast(style.ink_of(colour), "white") >= 3
    assert contrast(style.ink_on(colour), colour) >= 3


def test_lines_drawn_together_have_colours_of_their_own():
    names = ["mlx", "one", "two", "three"]
    figure = lines([1, 2], {n: [1, 2] for n in names}, x_quantity="x", x_unit="", quantity="y", unit="")
    colours = [line.get_color() for line in figure.axes[0].get_lines()]
    assert len(set(colours)) == 4


@pytest.mark.parametrize("values", [(2.8e-4, 1.4e-3), (1.5e-3, 4e-2), (1e-5, 3e-1)])
def test_ticks_of_logarithmic_bars_are_few_enough_to_read(values):
    figure, (ax, _) = new_figure(2.6, width=9, columns=2)
    bars(dict(zip("ab", values, strict=True)), quantity="time", unit="s", log=True, ax=ax)
    FigureCanvasAgg(figure).draw()
    axis = figure.axes[0].xaxis
    low, high = axis.get_view_interval()
    ticks = [t for t in axis.get_major_ticks() + axis.get_minor_ticks() if low <= t.get_loc() <= high]
    shown = [tick.label1.get_window_extent() for tick in ticks if tick.label1.get_text()]
    shown.sort(key=lambda box: box.x0)
    assert len(shown) >= 2 and all(a.x1 < b.x0 for a, b in zip(shown, shown[1:], strict=False))
