"""How far videos drifted apart, from made-up reports of presented frames, in a browser's page."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from dojobench.human_eval.study_file import ExclusionsPart
from dojobench.human_eval.vote_form import read_vote

pytestmark = pytest.mark.browser

PATIENCE = 300_000
"""Milliseconds after which a browser hangs."""

FRAME = 100.0
"""Milliseconds of a frame in these tests."""

LIMIT = ExclusionsPart().max_drift_frames
"""What a plan allows unless it says otherwise."""

Report = dict[str, Any]


@pytest.fixture(scope="module")
def page(chromium: str) -> Iterator[Any]:
    """A page that has `largestGap` and `Drift` of drift.js as globals."""
    api = pytest.importorskip("playwright.sync_api")
    code = (files("dojobench.human_eval") / "static" / "drift.js").read_text()
    with api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(
            executable_path=chromium, args=arguments, timeout=PATIENCE
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.add_script_tag(
            content=f"{code}\nObject.assign(window, {{ largestGap, Drift }});", type="module"
        )
        page.wait_for_function("() => Boolean(window.Drift)")
        yield page
        browser.close()


def shown(video: int, frames: dict[int, float], *, first_count: int = 1) -> list[Report]:
    """Reports of one video: each frame at a moment in milliseconds, none of them missed."""
    return [
        {"video": video, "frame": frame, "at": at, "count": first_count + place}
        for place, (frame, at) in enumerate(frames.items())
    ]


def steady(video: int, count: int = 12, *, late: float = 0.0) -> list[Report]:
    return shown(video, {frame: FRAME * frame + late for frame in range(count)})


def stalled(video: int, at: int, frames: int, count: int = 12) -> list[Report]:
    """Reports of a video that shows frame ``at`` for ``frames`` frames longer than it should."""
    moments = {k: FRAME * (k if k <= at else k + frames) for k in range(count)}
    return shown(video, moments)


def gap(page: Any, *reports: list[Report], videos: int = 3) -> float | None:
    together = [report for each in reports for report in each]
    found: float | None = page.evaluate(
        "([reports, videos]) => largestGap(reports, videos)", [together, videos]
    )
    return found


def flags(drift: float | None) -> list[str]:
    """What the server says of a vote with this drift."""
    sent = {"token": "t", "answers": {"physics": "left"}, "drift_frames": drift, "plays": 1}
    form = read_vote(sent, ("physics",))
    found: list[str] = form.measured(60.0, LIMIT)["flags"]
    # A plan that excludes nobody for it still has it flagged.
    assert form.measured(60.0, None)["flags"] == found
    return found


def test_videos_in_step_do_not_drift(page: Any) -> None:
    assert gap(page, steady(0), steady(1), steady(2)) == 0


def test_pictures_of_one_refresh_that_are_reported_apart_are_no_drift(page: Any) -> None:
    assert gap(page, steady(0), steady(1, late=16), steady(2, late=8)) == 0


def test_a_video_that_is_a_part_of_a_frame_late_is_one_frame_off_and_not_flagged(page: Any) -> None:
    found = gap(page, steady(0), steady(1, late=60), steady(2))
    assert found == 1
    assert flags(found) == []


@pytest.mark.parametrize("frames", [2, 3, 7])
@pytest.mark.parametrize("video", [0, 1, 2])
def test_a_stall_of_more_than_a_frame_is_measured_and_flagged(
    page: Any, video: int, frames: int
) -> None:
    others = [steady(k) for k in range(3) if k != video]
    found = gap(page, stalled(video, 4, frames), *others)
    assert found == frames
    assert flags(found) == ["drift"]


def test_a_stall_that_never_ends_counts_by_the_advance_of_the_others(page: Any) -> None:
    frozen = shown(1, {0: 0.0, 1: 100.0, 2: 200.0})
    # The others end at frame 11; what they show last is not known to have lasted.
    assert gap(page, steady(0), frozen, steady(2)) == 8
    asleep = shown(1, {0: 0.0})
    assert gap(page, steady(0), asleep, steady(2)) == 10


def test_a_video_that_runs_ahead_is_measured(page: Any) -> None:
    ahead = shown(2, {0: 0.0, **{k: FRAME * (k - 2) for k in range(3, 12)}})
    assert gap(page, steady(0), steady(1), ahead) == 2


def test_a_jump_back_that_brings_a_video_into_step_ends_its_drift(page: Any) -> None:
    jump = [*shown(1, {0: 0.0, 3: 100.0}), *shown(1, {2: 200.0, 3: 300.0}, first_count=3)]
    assert gap(page, steady(0, 4), jump, videos=2) == 2


def test_frames_that_were_presented_but_not_reported_are_no_drift(page: Any) -> None:
    """A page that was busy for half a second hears of the last frames alone, one by one."""
    busy = [
        report
        for late, video in enumerate(range(3))
        for report in steady(video)
        if report["frame"] not in range(2 + late, 7)
    ]
    assert gap(page, busy) == 0


def test_frames_that_were_dropped_are_drift(page: Any) -> None:
    """The same frames, never presented: the picture stood still, and the others went on."""
    dropped = shown(0, {k: FRAME * k for k in range(12) if k not in range(2, 7)})
    assert gap(page, dropped, steady(1), steady(2)) == 5


def test_all_videos_dropping_the_same_frames_are_no_drift(page: Any) -> None:
    kept = [0, 1, 6, 11]
    same = [shown(k, {each: FRAME * each + 3 * k for each in kept}) for k in range(3)]
    assert gap(page, *same) == 0


def test_the_order_of_reports_does_not_matter(page: Any) -> None:
    reports = [*steady(0), *stalled(1, 3, 4), *steady(2)]
    assert gap(page, reports) == gap(page, reports[::-1]) == 4


@pytest.mark.parametrize(
    "reports",
    [[], shown(0, {0: 0.0}), [*shown(0, {0: 0.0}), *shown(1, {0: 0.0}), *shown(2, {0: 0.0})]],
    ids=["none", "one video", "no time passed"],
)
def test_what_was_not_measured_is_not_zero(page: Any, reports: list[Report]) -> None:
    found = gap(page, reports)
    assert found is None
    assert "unmeasured" in flags(found)


CALLS = """([rate, steps]) => {
    const waiting = [null, null, null];
    const videos = waiting.map((_, place) => ({
        requestVideoFrameCallback: (callback) => { waiting[place] = callback; },
    }));
    const drift = new Drift(videos, rate);
    const act = {
        begin: ([frame, at]) => drift.begin(frame, at),
        end: () => drift.end(),
        report: ([video, frame, at, count]) => waiting[video](at, {
            mediaTime: frame / rate, expectedDisplayTime: at, presentedFrames: count,
        }),
    };
    return steps.map(([name, ...values]) => { act[name](values); return drift.largest; });
}"""


def calls(page: Any, *steps: list[Any], rate: float = 10.0) -> list[float | None]:
    """Makes `Drift` hear of callbacks; gives its largest drift after each step."""
    found: list[float | None] = page.evaluate(CALLS, [rate, list(steps)])
    return found


def reports_of(reports: list[Report], *, after: float = 0.0) -> list[list[Any]]:
    together = sorted(reports, key=lambda each: each["at"])
    return [["report", r["video"], r["frame"], r["at"] + after, r["count"]] for r in together]


def test_callbacks_are_measured_while_the_videos_play(page: Any) -> None:
    reports = [*steady(0), *stalled(1, 4, 3), *steady(2)]
    found = calls(page, ["begin", 0, 0.0], *reports_of(reports), ["end"], rate=29.97)
    assert found[0] is None
    assert found[-1] == found[-2] == 3


def test_a_video_that_never_starts_is_seen(page: Any) -> None:
    ready = [["report", video, 0, 10.0, 1] for video in range(3)]
    reports = [r for video in (0, 2) for r in steady(video) if r["frame"]]
    found = calls(page, *ready, ["begin", 0, 20.0], *reports_of(reports), ["end"])
    assert found[3] is None
    assert found[-1] == 10


def test_seeks_between_two_plays_are_no_drift(page: Any) -> None:
    once = [*steady(0), *steady(1), *steady(2)]
    back = [["report", video, 0, 2000.0 + 400 * video, 13] for video in range(3)]
    steps = [["begin", 0, 0.0], *reports_of(once), ["end"], *back]
    again = [{**report, "count": report["count"] + 13} for report in once if report["frame"]]
    found = calls(page, *steps, ["begin", 0, 3000.0], *reports_of(again, after=3000.0), ["end"])
    assert found[-1] == 0


def test_the_largest_drift_of_all_plays_is_kept(page: Any) -> None:
    worst = [*steady(0), *stalled(1, 4, 5), *steady(2)]
    calm = [{**r, "count": r["count"] + 12} for r in [*steady(0), *steady(1), *steady(2)]]
    first = [["begin", 0, 0.0], *reports_of(worst), ["end"]]
    found = calls(page, *first, ["begin", 0, 5000.0], *reports_of(calm, after=5000.0), ["end"])
    assert found[-1] == 5


def test_a_browser_that_reports_nothing_measures_nothing(page: Any) -> None:
    found = page.evaluate(
        "() => { const drift = new Drift([{}, {}, {}], 10); drift.begin(0, 0); drift.end();"
        " return drift.largest; }"
    )
    assert found is None
    assert "unmeasured" in flags(found)
