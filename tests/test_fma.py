"""FMA's metadata: the three-line header, the nested subsets, and files that are not FMA's."""

import pytest

import utils
from data import fma

HEADER = ",set,set,track,track\n,split,subset,genre_top,title\ntrack_id,,,,\n"
ROWS = (
    '2,training,small,Hip-Hop,"Food, and more"\n3,training,medium,Rock,b\n5,test,large,Rock,c\n'
    "10,validation,small,,d\n140,validation,medium,Folk,e\n"
)


def test_real_metadata_gives_the_published_splits(real_datasets):
    table = fma.read_tracks_csv(real_datasets / "fma_metadata" / "tracks.csv")
    counts = {size: fma.select(table, size)["split"].value_counts().to_dict() for size in ("small", "medium")}
    assert counts["small"] == {"training": 6394, "validation": 800, "test": 800}
    assert counts["medium"] == {"training": 19904, "validation": 2504, "test": 2572}
    assert len(set(fma.select(table, "small")["genre_top"])) == 8
    assert len(set(fma.select(table, "medium")["genre_top"])) == 16


def test_subsets_nest_and_tracks_without_genre_are_left_out(tmp_path):
    (tmp_path / "tracks.csv").write_text(HEADER + ROWS)
    table = fma.read_tracks_csv(tmp_path / "tracks.csv")
    assert list(fma.select(table, "small")["track_id"]) == ["000002"]
    assert list(fma.select(table, "medium")["track_id"]) == ["000002", "000003", "000140"]


@pytest.mark.parametrize(
    "content", [None, "", "not,a\nreal,table\n", HEADER.replace("subset", "x") + ROWS, "\0\xff" * 50]
)
def test_missing_or_foreign_metadata_says_where_to_get_it(tmp_path, content):
    if content is not None:
        (tmp_path / "tracks.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(utils.UserError, match=r"fma_metadata\.zip"):
        fma.read_tracks_csv(tmp_path / "tracks.csv")


def test_artists_are_text_and_empty_where_unknown(tmp_path):
    header = HEADER.replace(",set,set", ",artist,set,set").replace(",split,", ",id,split,").replace("d,,,", "d,,,,")
    rows = "2,17,training,small,Rock,a\n3,,training,small,Rock,b\n5,040,test,small,Rock,c\n"
    (tmp_path / "tracks.csv").write_text(header + rows)
    assert list(fma.read_tracks_csv(tmp_path / "tracks.csv")["artist"]) == ["17", "", "40"]
    (tmp_path / "tracks.csv").write_text(header + rows.replace("3,,", "3,8,"))
    assert list(fma.read_tracks_csv(tmp_path / "tracks.csv")["artist"]) == ["17", "8", "40"]
    (tmp_path / "tracks.csv").write_text(HEADER + ROWS)
    assert set(fma.read_tracks_csv(tmp_path / "tracks.csv")["artist"]) == {""}


def test_paths_of_tracks(tmp_path):
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata" / "tracks.csv").write_text(HEADER + ROWS)
    with pytest.raises(utils.UserError, match="no audio"):
        fma.find(tmp_path, "medium")
    (tmp_path / "fma_medium" / "000").mkdir(parents=True)
    (tmp_path / "fma_medium" / "000" / "000002.mp3").touch()
    found = fma.find(tmp_path, "medium")
    assert (len(found.tracks), found.left_out, found.frames) == (3, [], {})
    track = found.tracks[2]
    assert track.source == tmp_path / "fma_medium" / "000" / "000140.mp3"
    assert (track.path, track.genre_top, track.split) == ("000/000140.npy", "Folk", "validation")
