"""The scripts that measure, run tiny."""

import numpy as np
import pytest
import soundfile

import augment
import utils
from benchmarks import augmentations, start


@pytest.fixture
def songs(tmp_path):
    time = np.arange(4 * 22050) / 22050
    for name, hertz in (("one", (220, 277, 330)), ("two", (500, 1500))):
        chord = sum(np.sin(2 * np.pi * h * time) for h in hertz) * (1 + np.cos(4 * np.pi * time)) / 8
        (tmp_path / "deep").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "deep" / f"{name}.wav", chord, 22050)
    return tmp_path


def run(*argv):
    augmentations.main(augmentations.get_args_parser().parse_args([str(part) for part in argv]))


def test_verify_prints_a_table_that_holds_on_chords(songs, capsys):
    run("--verify", songs)
    lines = capsys.readouterr().out.splitlines()
    assert {line.count("|") for line in lines} == {7}
    rows = {cells[0]: [float(cell) for cell in cells[1:]] for cells in map(cells_of, lines[2:])}
    assert len(rows) == len(augmentations.SHIFTS) + len(augmentations.RATES) + 2
    for name, (_, mean, lowest, _, _) in rows.items():
        assert lowest <= mean + 1e-9 <= 1
        if not name.startswith("mean of the dB"):
            assert mean > 0.8, name
    assert rows["mixup, lam 0.7"][1] > rows["mean of the dB, lam 0.7"][1]


def cells_of(line):
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_speed_prints_a_line_for_each_family(capsys, monkeypatch):
    monkeypatch.setattr(augmentations, "BATCH", 2)
    monkeypatch.setattr(augmentations, "FRAMES", 32)
    run("--speed", "--device", "cpu")
    lines = [cells_of(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0][0] == "two views of 2 × 48 × 32"
    assert [cells[0] for cells in lines[2:]] == [*augment.FAMILIES, "ResNet-50 step (cpu)"]
    assert all(float(cell) > 0 for cells in lines[2:] for cell in cells[1:3])


def test_bad_input_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(utils.UserError, match="there is no audio file under"):
        run("--verify", tmp_path / "nothing")
    (tmp_path / "broken.mp3").write_text("no music")
    with pytest.raises(utils.UserError, match=r"broken\.mp3: not audio"):
        run("--verify", tmp_path)
    with pytest.raises(SystemExit):  # neither of the two
        run()


def test_a_start_ends_with_the_first_bar():
    bar = "import sys, time; print(1, file=sys.stderr); sys.stderr.write('epoch 1:   0%|   |'); time.sleep(60)"
    assert start.seconds_to_bar(["-c", bar]) < 20
    with pytest.raises(utils.UserError, match=r"ends without a bar: .*no such set"):
        start.seconds_to_bar(["-c", "raise SystemExit('no such set')"])
