"""evaluation.report: what the page says, that it needs nothing else, and that everybody can read it."""

import html.parser
import itertools
import json
import re
import shutil
import subprocess

import pytest
from fake_experiment import GENRES, write_experiment, write_transfer

import utils
from evaluation import report
from utils import UserError

VOID = {"meta", "img"}


class Page(html.parser.HTMLParser):
    """Tags with their attributes in order, the text, and whether every element is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open, self.data = [], text, [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.data.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = write_experiment(tmp_path_factory.mktemp("exp"))
    write_transfer(folder, "fma_small_linear", skill=1.5, pictures=True)
    seeds = {"accuracy": {"mean": 0.515, "std": 0.021, "ci95": [0.4, 0.6], "n": 3}}
    write_transfer(folder, "fma_small_mlp", skill=0.5, seeds=seeds)
    return folder


@pytest.fixture(scope="module")
def page(experiment):
    path = report.write_report(experiment)
    assert path == experiment / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_it_says_what_the_results_say(experiment, page):
    summary = json.loads((experiment / "fma_small_linear" / "result.json").read_text())
    low, high = summary["accuracy_ci95"]
    assert f"{summary['accuracy']:.1%}" in page.data
    assert f"{low:.1%} to {high:.1%}" in page.data
    assert f"{summary['log_loss']:.3f}" in page.data
    assert f"{summary['per_genre']['Folk']['recall']:.1%}" in page.data
    assert "51.5%" in page.data  # mean over seeds
    for text in ("Experiment 154874", "simsiam · resnet18 · fma_small · 2026-01-02", "0.03", "Pre-training"):
        assert text in page.data
    order = [page.data.index(name) for name in ("fma_small_linear", "fma_small_mlp")]
    assert order == sorted(order)  # the more accurate first


def test_the_worst_mistakes_are_the_worst(experiment, page):
    rows = [line.split(",") for line in (experiment / "fma_small_linear" / "predictions.csv").read_text().split("\n")]
    wrong = [row for row in rows[1:-1] if row[1] != row[2]]
    surest = max(wrong, key=lambda row: max(map(float, row[3:])))
    heading = page.data.index("Tracks it is most sure about, and wrong")
    assert surest[0] in page.data[heading : heading + 25]
    pairs = [(row[1], row[2]) for row in wrong]
    most = max(pairs.count(pair) for pair in pairs)
    heading = page.data.index("Genres confused most often")
    cells = [text for text in page.data[heading:] if text][5:8]
    assert cells[2] == str(most)
    assert pairs.count((cells[0], cells[1])) == most


def test_it_needs_nothing_else(page):
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
    images = [image["src"] for image in page.all("img")]
    assert len(images) == 5  # four pictures of one transfer, one of the pre-training
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in images)
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert not re.search(r"https?://|url\(|@import", page.text)


def test_everybody_can_read_it(page):
    assert page.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    assert all(int(image["width"]) > 100 and int(image["height"]) > 100 for image in page.all("img"))
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert {link["href"][1:] for link in page.all("a")} <= set(names)
    assert "prefers-color-scheme: dark" in page.text


def test_many_sections_have_a_list_of_contents(page, tmp_path):
    start, end = (page.text.index(tag) for tag in ("<nav", "</nav>"))
    links = re.findall(r'href="#([^"]+)">([^<]+)<', page.text[start:end])
    assert [name for _, name in links] == ["Results", "fma_small_linear", "fma_small_mlp", "Pre-training", "Settings"]
    assert links == re.findall(r'<h2 id="([^"]+)">([^<]+)<', page.text)  # where each of them leads
    assert "<nav" not in report.write_report(write_experiment(tmp_path)).read_text()  # few need none


def test_a_setting_of_every_band_is_said_in_short(tmp_path):
    experiment = write_experiment(tmp_path)
    configuration = utils.read_json(experiment / "configuration.json")
    configuration["normalisation"] = {"mean": [-30.5 - band for band in range(128)], "std": 17.2}
    utils.write_json(experiment / "configuration.json", configuration)
    page = report.write_report(experiment).read_text()
    assert "128 values from -157.5 to -30.5" in page
    assert "-100.5" not in page


def test_names_are_escaped(page):
    assert "Pop & <Rock>" in GENRES
    assert "Pop & <Rock>" in page.data
    assert "train <simsiam> & co" in page.data
    assert "<rock>" not in page.text.lower()


def test_an_experiment_without_results_or_log(tmp_path):
    folder = write_experiment(tmp_path, log=False)
    page = Page(report.write_report(folder).read_text())
    assert "No classifier has been trained on it yet: run transfer.py." in page.data
    assert page.all("img") == []


def test_a_perfect_classifier_of_an_older_version(tmp_path):
    folder = write_experiment(tmp_path)
    write_transfer(folder, skill=99, metrics={"roc_auc": None})
    assert "confused" not in report.write_report(folder).read_text()
    (folder / "linear" / "result.json").write_text('{"accuracy": 0.5, "genres": ["a"]}')
    (folder / "linear" / "predictions.csv").unlink()
    assert "50.0%" in Page(report.write_report(folder).read_text()).data


def test_pictures_of_older_folders_are_shown(tmp_path):
    folder = write_experiment(tmp_path)
    linear = write_transfer(folder)
    for name in ("learning_curve.png", "learning_curves.png"):
        shutil.copy(folder / "train_loss.png", linear / name)
    page = Page(report.write_report(folder).read_text())
    assert [image["alt"].split(" of ")[0] for image in page.all("img")] == ["Label curve", "Epochs", "Pre-training"]
    shutil.copy(folder / "train_loss.png", linear / "transfer_log.png")
    assert len(Page(report.write_report(folder).read_text()).all("img")) == 3  # the new one instead of the old


def test_names_in_attributes_are_escaped(tmp_path):
    folder = write_experiment(tmp_path, '154874"><b>')
    write_transfer(folder, 'a"><b>', pictures=True)
    page = Page(report.write_report(folder).read_text())
    assert page.all("b") == [{}] * 4  # the numbers on the cards
    assert page.all("img")[0]["alt"].startswith('Confusion matrix of a"><b>. Rows')


def test_not_an_experiment(tmp_path):
    with pytest.raises(UserError):
        report.write_report(tmp_path)


def test_a_real_browser_shows_it(experiment, page, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium here")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update"]
    command += [f"--user-data-dir={tmp_path / 'user'}", f"--screenshot={tmp_path / 'page.png'}"]
    command += [(experiment / "report.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "page.png").stat().st_size > 10_000
