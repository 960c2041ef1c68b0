"""The colours of all pages reach WCAG 2.2 AA in both modes, by the numbers."""

import re
from importlib.resources import files

import pytest

TEMPLATES = files("dojobench.benchmarks").joinpath("templates")
CSS = "".join(
    TEMPLATES.joinpath(sheet).read_text(encoding="utf-8")
    for sheet in ("page.css", "charts.css", "report.css")
)


def palette(mode: str) -> dict[str, str]:
    light, dark, *_ = re.findall(r":root \{(.*?)\}", CSS, re.S)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    if mode == "dark":
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark))
    return found


def luminance(colour: str) -> float:
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_the_standard_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_has_a_contrast_of_four_and_a_half(mode: str) -> None:
    colours = palette(mode)
    pairs = [(text, ground) for text in ("ink", "soft", "accent") for ground in ("bg", "surface")]
    pairs += [(f"s{k}", "bg") for k in range(8)]  # a curve's name has the curve's colour
    pairs += [("accent", "wash"), ("soft", "wash"), ("soft", "hair"), ("bg", "accent")]
    pairs += [(kind, f"{kind}-wash") for kind in ("good", "bad", "warn")]
    pairs += [("soft", "good-wash"), ("soft", "bad-wash"), ("ink", "warn-wash")]
    pairs += [("surface", kind) for kind in ("good", "bad", "soft")]
    low = {p: round(c, 2) for p in pairs if (c := contrast(colours[p[0]], colours[p[1]])) < 4.5}
    assert low == {}


def test_the_stylesheet_asks_for_nothing_outside() -> None:
    assert "@import" not in CSS
    assert "url(" not in CSS
