"""The benchmark of preprocessing.py, run tiny."""

import concurrent.futures

import pytest
import soundfile

import utils
from benchmarks import preprocess
from data import extractors, logmel
from data.collection import Track


@pytest.fixture
def tiny(monkeypatch):
    for name, value in {"SECONDS": 1, "SONGS": 2, "COPIES": 2, "TURNS": 2}.items():
        monkeypatch.setattr(preprocess, name, value)
    threads = concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr(preprocess, "pool_for", lambda extractor, workers: threads(workers))


def test_a_table_of_one_row_is_printed(tiny, capsys):
    preprocess.main(preprocess.get_args_parser().parse_args(["--cores", "2"]))
    header, line, row = capsys.readouterr().out.splitlines()
    assert header.count("|") == line.count("|") == row.count("|") == 7
    cells = [float(cell.split()[0]) for cell in row.strip("| ").split("|")]
    assert cells[0] == 2
    assert min(cells) > 0


def test_the_ratios_are_medians_over_the_turns(capsys):
    preprocess.print_table(2, [(10, 8, 2), (20, 10, 2), (40, 30, 3)])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "| 2 | 20.0 | 10.0 | 0.75 [0.50, 0.80] | 2.0 | 5.00 [4.00, 10.00] |"
    )


def test_the_songs_are_what_the_table_speaks_of(tiny, tmp_path):
    paths = preprocess.make_songs(tmp_path)
    assert len({path.read_bytes() for path in paths}) == 2 < len(set(paths)) == 4
    song = soundfile.info(paths[0])
    assert (song.samplerate, song.channels, song.format) == (44100, 2, "MP3")
    assert 256_000 / 8 < paths[0].stat().st_size < 1.1 * 256_000 / 8 * song.duration


def test_a_song_that_is_not_converted_is_not_counted(tmp_path):
    track = Track("none", tmp_path / "none.mp3", "none.npy", "", "")
    with pytest.raises(utils.UserError, match="was not converted: no such file"):
        preprocess.convert((track, tmp_path, extractors.build(logmel.default_settings())))
