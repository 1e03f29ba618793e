"""Tables of tags: FMA's genres, MagnaTagATune's annotations, and files that are not theirs."""

import csv

import pytest
from conftest import call

import utils
from data import tags

TRACKS = ',set,track\n,split,genres_all\ntrack_id,,\n2,training,"[21, 12]"\n3,test,[21]\n5,training,[]\n7,test,[12]\n'
GENRES = "genre_id,#tracks,parent,title,top_level\n12,9,0,Rock,12\n21,8,0,\"Hip-Hop, old\",21\n"
MAGNA = (
    "clip_id\tsinger\tno voice\tharp\tmp3_path\n"
    "2\t1\t1\t0\tf/one-30-59.mp3\n6\t0\t1\t0\t0/two-0-29.mp3\n10\t0\t0\t0\tc/three.mp3\n11\t1\t0\t0\tc/four.v2.mp3\n"
)


def write_fma(data_dir, tracks=TRACKS, genres=GENRES):
    for name, content in (("fma_metadata/tracks.csv", tracks), ("fma_metadata/genres.csv", genres)):
        path = data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_text(content)
    utils.write_csv(data_dir / "tiny_npy" / "tracks.csv", ["track_id"], [["000003"], ["000002"], ["000005"]])


def rows_of(path):
    return list(csv.reader(path.open(newline="")))[1:]


def test_all_genres_of_the_tracks_that_are_there(tmp_path):
    write_fma(tmp_path)
    call(tags, f"--dataset tiny --data_dir {tmp_path}")
    found = rows_of(tmp_path / "tiny_npy" / "tags.csv")
    assert found == [["000003", "Hip-Hop, old"], ["000002", "Hip-Hop, old"], ["000002", "Rock"]]
    table = tags.read_tags(tmp_path / "tiny_npy" / "tags.csv")
    assert table.to_numpy().tolist() == found


@pytest.mark.parametrize(("change", "message"), [
    ({"genres": None}, r"genres\.csv does not exist.*--size metadata"),
    ({"genres": GENRES.replace("title", "name")}, "not FMA's"),
    ({"genres": GENRES.replace("12,9", "13,9")}, "not FMA's"),
    ({"tracks": TRACKS.replace("genres_all", "genres")}, "not FMA's"),
    ({"tracks": TRACKS.replace("[21]", "twenty-one")}, "not FMA's"),
    ({"tracks": TRACKS.replace("[21]", "[Infinity]")}, "not FMA's"),
    ({"genres": GENRES + GENRES.splitlines()[1] + "\n"}, "not FMA's"),
])  # fmt: skip
def test_metadata_that_does_not_say_it(tmp_path, change, message, capsys):
    write_fma(tmp_path, **change)
    with pytest.raises(utils.UserError, match=message):
        call(tags, f"--dataset tiny --data_dir {tmp_path}")
    tags.write_where_known(tmp_path / "tiny_npy", tmp_path / "fma_metadata")  # of preprocessing.py
    assert capsys.readouterr().out.startswith("note: no tags.csv for --labels: ")
    assert not (tmp_path / "tiny_npy" / "tags.csv").exists()


def test_only_its_own_tables_are_replaced(tmp_path):
    write_fma(tmp_path)
    table = tmp_path / "tiny_npy" / "tags.csv"
    table.write_text("track_id,mood\n000003,calm\n")
    with pytest.raises(utils.UserError, match="is no table of track_id, tag"):
        call(tags, f"--dataset tiny --data_dir {tmp_path}")
    tags.write_where_known(tmp_path / "tiny_npy", tmp_path / "fma_metadata")
    assert "calm" in table.read_text()
    table.write_text("track_id,tag\n000003,calm\n")
    call(tags, f"--dataset tiny --data_dir {tmp_path}")
    assert len(rows_of(table)) == 3


def test_annotations_are_not_replaced_by_what_is_made_of_them(tmp_path):
    (tmp_path / "tags.csv").write_text(MAGNA)
    with pytest.raises(utils.UserError, match="is not replaced"):
        call(tags, f"--magnatagatune {tmp_path}/tags.csv --out {tmp_path}")
    assert (tmp_path / "tags.csv").read_text() == MAGNA


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(utils.UserError, match="run preprocessing"):
        call(tags, f"--dataset tiny --data_dir {tmp_path}")


def test_magnatagatune_becomes_two_tables(tmp_path, monkeypatch):
    (tmp_path / "annotations_final.csv").write_text(MAGNA)
    monkeypatch.setattr(tags, "MOST_FREQUENT", 2)
    call(tags, f"--magnatagatune {tmp_path}/annotations_final.csv --out {tmp_path}/magna")
    assert rows_of(tmp_path / "magna" / "tags.csv") == [
        ["one-30-59", "singer"], ["one-30-59", "no voice"], ["two-0-29", "no voice"], ["four.v2", "singer"],
    ]  # fmt: skip
    assert rows_of(tmp_path / "magna" / "splits.csv") == [
        ["one-30-59", "test"], ["two-0-29", "training"], ["four.v2", "validation"],
    ]  # fmt: skip


@pytest.mark.parametrize("content", [
    None, "", "a,b\n1,2\n", MAGNA.replace("f/one", "z/one"), MAGNA.replace("2\t1", "2\tyes"),
    MAGNA.replace("2\t1", "2\t7"), MAGNA.replace("two-0-29", "three"), "\0\xff" * 50,
])  # fmt: skip
def test_what_is_not_magnatagatune(tmp_path, content):
    if content is not None:
        (tmp_path / "a.csv").write_text(content, encoding="latin-1")
    with pytest.raises(utils.UserError, match=r"does not exist|is not annotations_final\.csv"):
        call(tags, f"--magnatagatune {tmp_path}/a.csv --out {tmp_path}/magna")
    assert not (tmp_path / "magna").exists()
