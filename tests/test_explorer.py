"""evaluation.explorer: neighbours, the map, and the page in a browser, where there is one.

The browser's tests need ``pip install playwright``, and chromium or Chrome on the PATH.
"""

import base64
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from evaluation import explorer
from utils import UserError

HOSTILE = "</script><img src=x onerror=\"document.title='hacked'\">"
GENRES = ["Folk", HOSTILE, "Rock"]
N = 60
PLAYED = """new Promise((done) => {
  const look = () => (audio.currentTime > 0 ? done() : setTimeout(look, 20));
  look();
})"""  # the page forbids eval, which playwright's wait_for_function needs


def unpacked(part):
    return np.frombuffer(base64.b64decode(part["data"]), dtype=part["type"].removesuffix("Array").lower())


def features_of(num_tracks=N, seed=0):
    """(N, 8) and genres (N,): three groups, far apart."""
    chance = np.random.default_rng(seed)
    genres = np.arange(num_tracks) % 3
    return (4 * np.eye(3, 8)[genres] + chance.normal(size=(num_tracks, 8))).astype(np.float32), genres


def write(path, **changes):
    features, genres = features_of()
    tracks = pd.DataFrame({
        "track_id": [f"{number:03d}" for number in range(N)],
        "genre_top": [GENRES[genre] for genre in genres],
        "split": ["test" if number % 5 == 0 else "training" for number in range(N)],
    })  # fmt: skip
    probabilities = np.eye(3)[np.where(np.arange(N) < 6, (genres + 1) % 3, genres)]  # six are wrong
    given = {"genres": GENRES, "probabilities": probabilities, "sounds": None, **changes}
    data = explorer.page_data(tracks, features, explorer.Space(features).neighbours(10), **given)
    explorer.write_page(path, f"A map {HOSTILE}", f"About {HOSTILE}.", data, f"Beware {HOSTILE}.")
    return data


# ------------------------------------------------------------------ what the page is made of


def test_features_that_are_no_numbers_and_a_track_alone_are_refused():
    features, _ = features_of()
    features[3, 2] = np.nan
    with pytest.raises(UserError, match="no finite numbers"):
        explorer.Space(features)
    alone = explorer.Space(features[:1])
    with pytest.raises(UserError, match="at least 2 tracks"):
        alone.neighbours(10)
    assert alone.nearest_to(features[1], 10)[0].tolist() == [0]


def test_splits_come_in_the_order_in_which_they_are_used():
    features, _ = features_of(6)
    splits = ["excluded", "test", "attic", "validation", "training", "test"]
    tracks = pd.DataFrame({"track_id": list("abcdef"), "genre_top": [GENRES[0]] * 6, "split": splits})
    data = explorer.page_data(tracks, features, explorer.Space(features).neighbours(2))
    assert data["splits"] == ["training", "validation", "test", "attic", "excluded"]


def test_neighbours_are_those_of_brute_force():
    features, _ = features_of()
    z = (features - features.mean(0)) / features.std(0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    expected = 1 - z @ z.T
    np.fill_diagonal(expected, np.inf)
    space = explorer.Space(features)
    nearest, distances = space.neighbours(7)
    assert (nearest == expected.argsort(1)[:, :7]).all()
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :7], atol=1e-5)
    nearest, distances = space.nearest_to(features[5], 3)
    assert nearest.tolist() == [5, *expected[5].argsort()[:2]]
    assert distances[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("num_tracks", [2, 3, 12])
def test_few_tracks_and_equal_ones_have_neighbours_and_places(num_tracks):
    features = np.ones((num_tracks, 4), dtype=np.float32)
    nearest, distances = explorer.Space(features).neighbours(10)
    assert nearest.shape == distances.shape == (num_tracks, min(10, num_tracks - 1))
    assert not (nearest == np.arange(num_tracks)[:, None]).any()
    assert np.isfinite(explorer.place(features)).all()


def test_the_map_is_the_same_for_the_same_seed_and_keeps_groups_together():
    features, genres = features_of()
    place = explorer.place(features, seed=3)
    np.testing.assert_array_equal(place, explorer.place(features, seed=3))
    assert place.min() == 0
    assert place.max() == 1
    nearest = np.linalg.norm(place[:, None] - place, axis=2).argsort(1)[:, 1]
    assert (genres[nearest] == genres).mean() > 0.8


def test_numbers_are_unpacked_as_they_were():
    for most, kind in ((255, "Uint8Array"), (256, "Uint16Array"), (70_000, "Uint32Array")):
        part = explorer.packed([[0, most], [1, 2]])
        assert part["type"] == kind
        assert unpacked(part).tolist() == [0, most, 1, 2]


def test_names_stay_text_and_nothing_is_fetched(tmp_path):
    data = write(tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<img" not in text
    assert text.count("</script>") == 2
    read = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert read == json.loads(json.dumps(data))
    assert HOSTILE in read["genres"]
    assert not re.search(r'(src|href)\s*=\s*["\']|url\(|https?://', re.sub(r'id="data">.*?</script>', "", text))


# ------------------------------------------------------------------ the page in a browser


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if not program:
        pytest.skip("no chromium here")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens the page with the options of a browser's tab; at the end, nothing went wrong in it."""
    wrong, asked, pages = [], [], []

    def open_page(sounds=None, **options):
        write(tmp_path / "a.html", sounds=sounds)
        page = browser.new_page(**options)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "a.html").as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.title() == f"A map {HOSTILE}"  # and not "hacked"
        page.close()
    assert not wrong
    assert all(url.startswith((tmp_path.as_uri(), "data:")) for url in asked)


def test_a_click_selects_a_point_and_its_neighbours_lead_on(opened, tmp_path):
    page, data = opened(), write(tmp_path / "b.html")
    place, nearest = unpacked(data["place"]).reshape(-1, 2) / 65535, unpacked(data["nearest"]).reshape(N, 10)
    box, extent = page.locator("#canvas").bounding_box(), place.max(0)
    unit = 0.93 * min(box["width"] / extent[0], box["height"] / extent[1])
    x, y = (place - extent / 2).T * unit
    clicked = int(np.linalg.norm(place - place[7], axis=1).argsort()[-1])  # one at the rim, not hidden by others
    at = {"x": box["width"] / 2 + x[clicked], "y": box["height"] / 2 - y[clicked]}
    page.locator("#canvas").hover(position=at)
    assert f"{clicked:03d}" in page.inner_text("#tip")
    page.locator("#canvas").click(position=at)
    assert page.inner_text("#name") == f"{clicked:03d}"
    listed = page.locator("#neighbours b").all_inner_texts()
    assert [text.split()[0] for text in listed] == [f"{other:03d}" for other in nearest[clicked]]
    page.locator("#neighbours button").nth(2).click()
    assert page.inner_text("#name") == f"{nearest[clicked][2]:03d}"


def test_search_filters_and_the_switch_of_colours(opened):
    page = opened()
    assert page.inner_text("#status") == "60 of 60 tracks shown, classified right: test 83.3 %, training 91.7 %"
    page.fill("#search", "03")
    assert page.locator("#found button").count() == 8
    page.fill("#search", "033")
    page.press("#search", "Enter")
    assert page.inner_text("#name") == "033"
    page.check("#wrong")
    assert page.inner_text("#status") == "6 of 60 tracks shown, classified right: test 0.0 %, training 0.0 %"
    page.select_option("#split", "test")
    assert page.inner_text("#status").startswith("2 of 60")
    page.uncheck("#wrong")
    page.select_option("#colour", "predicted")
    page.locator("#legend button", has_text="Rock").click()
    assert page.inner_text("#status").startswith("9 of 60")
    assert page.locator("#legend button", has_text="Rock").get_attribute("aria-pressed") == "false"


def test_a_track_is_played_from_its_file_or_from_the_page(opened, tmp_path):
    soundfile.write(tmp_path / "own song.wav", np.zeros(16000), 8000)
    within = "data:audio/wav;base64," + base64.b64encode((tmp_path / "own song.wav").read_bytes()).decode()
    page = opened(sounds=["own%20song.wav", within, None] + [None] * (N - 3))
    for track in ("000", "001"):
        page.fill("#search", track)
        page.press("#search", "Enter")
        page.evaluate(PLAYED)
        assert page.evaluate("audio.duration") == 2
    page.fill("#search", "002")
    page.press("#search", "Enter")
    assert page.locator("#audio").is_hidden()
    assert page.inner_text("#silent") == "No audio of this track here."


def test_the_keyboard_is_enough(opened):
    page = opened()
    focused = "document.activeElement.id"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "canvas":
            break
    assert page.evaluate(focused) == "canvas"
    assert page.evaluate("getComputedStyle(canvas).outlineStyle") == "solid"
    page.keyboard.press("ArrowRight")
    first = page.inner_text("#name")
    page.keyboard.press("ArrowUp")
    assert page.inner_text("#name") != first
    page.keyboard.press("Enter")
    page.focus("#neighbours button")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('ol').id") == "neighbours"
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    assert page.evaluate(focused) == "canvas"


def test_dark_and_narrow_pages_fit(opened):
    page = opened(color_scheme="dark", viewport={"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#canvas").bounding_box()["width"] > 300
    pixels = page.evaluate("Array.from(canvas.getContext('2d').getImageData(2, 2, 1, 1).data)")
    assert pixels == [0x1B, 0x22, 0x2A, 255]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 29)"
