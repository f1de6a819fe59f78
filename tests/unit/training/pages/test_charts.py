"""Charts: well-formed, in their frame, the same for the same figures, and deaf to markup in names."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from training.pages import charts, pictures
from training.pages.charts import Border, Dot, Line

EVIL = '<script>alert("x")</script>&'


def every_chart(name: str) -> list[Markup]:
    return [
        charts.lines(
            [Line(name, (0.0, 0.5, 1.0), (0.2, 0.8, 0.5), (0.1, 0.7, 0.4), (0.3, 0.9, 0.6), dots=True)],
            x_name=name,
            y_name=name,
            guide=0.5,
        ),
        charts.lines([Line(name, (0, 1), (0.2, 0.8))], x_name=name, y_name=name, x_labels=(name, "b")),
        charts.reliability([(0.3, 0.5, 4), (0.9, 0.8, 40)]),
        charts.histogram(
            [(name, np.array([0.1, 0.2, 7.0])), ("b", np.array([]))],
            [Border(1.0, name)],
            x_name=name,
            x_range=(-1.0, 4.0),
        ),
        charts.scatter(
            [Dot(1.0, 0.5, name), Dot(2.0, 0.9, "b"), Dot(3.0, 0.2, "c")],
            x_name=name,
            y_name=name,
            x_ticks=[(1.0, name)],
            x_range=(0.5, 3.5),
            y_range=(0.0, 1.0),
            best_so_far=True,
            guides=(0.7,),
        ),
        charts.whisker(0.5, 0.4, 0.7, guide=0.0),
        charts.whisker(7.0, -3.0, 9.0),
    ]


def test_every_chart_is_well_formed_and_stays_in_its_frame() -> None:
    for chart in every_chart("a name"):
        root = ElementTree.fromstring(str(chart))
        _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
        for element in root.iter():
            for key in ("x", "x1", "x2", "cx"):
                assert -1.0 <= float(element.attrib.get(key, 0.0)) <= width + 1.0
            for key in ("y", "y1", "y2", "cy"):
                assert -1.0 <= float(element.attrib.get(key, 0.0)) <= height + 1.0
            for pair in element.attrib.get("points", "").split():
                x, y = (float(part) for part in pair.split(","))
                assert 0.0 <= x <= width
                assert 0.0 <= y <= height


def test_names_are_text_and_never_markup() -> None:
    for chart in every_chart(EVIL):
        assert "<script" not in chart
        ElementTree.fromstring(str(chart))


def test_the_same_figures_give_the_same_bytes() -> None:
    assert every_chart("a") == every_chart("a")


def test_a_chart_of_nothing_is_nothing() -> None:
    assert charts.lines([], x_name="a", y_name="b") == ""
    assert "circle" not in charts.reliability([])


def test_values_land_where_the_axis_says() -> None:
    chart = charts.lines([Line("a", (0.0, 1.0), (0.0, 1.0), dots=True)], x_name="x", y_name="y", width=460, height=250)
    circles = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', str(chart))
    (left, bottom), (right, top) = ((float(x), float(y)) for x, y in circles)
    assert left < right
    assert top < bottom
    ticks = {text: float(y) for y, text in re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)<', str(chart))}
    assert ticks["0"] - 4 == pytest.approx(bottom, abs=0.2)
    assert ticks["1"] - 4 == pytest.approx(top, abs=0.2)


def test_a_photograph_is_in_the_page_itself() -> None:
    source = pictures.photograph(np.full((64, 64, 3), 128, np.uint8))
    head, content = source.split(",")
    assert head == "data:image/jpeg;base64"
    image = Image.open(BytesIO(base64.b64decode(content)))
    assert image.size == (pictures.SHOWN_PX, pictures.SHOWN_PX)
