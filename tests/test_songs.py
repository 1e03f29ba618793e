"""What files, folders and playlists lead to."""

import pytest

from data import songs


@pytest.fixture
def music(tmp_path):
    for name in ("b.mp3", "a/z.FLAC", "a/b/c.m4a", "a/cover.jpg", "a/._z.flac", ".hidden/d.mp3", "empty/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_is_the_audio_below_it_sorted_and_each_file_comes_once(music):
    below = [f"{music}/{name}" for name in ("a/b/c.m4a", "a/z.FLAC", "b.mp3")]
    assert songs.find([str(music)]) == (below, [])
    files, left_out = songs.find([f"{music}/b.mp3", "gone.npy", str(music), f"{music}/empty"])
    assert files == [f"{music}/b.mp3", "gone.npy", *below[:2]]
    assert left_out == [(f"{music}/empty", "no audio below this folder")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_a_playlist_is_its_entries_from_its_folder_on(music, encoding):
    comments, address = ["#EXTM3U", "#EXTINF:12,Band - é"], "https://radio.example/a"
    lines = [*comments, "a/é\x85.mp3 ", "", f"{music}/b.mp3", address, "../c d.ogg"]
    playlist = music / "a" / "party.M3U"
    playlist.write_bytes("\r\n".join(lines).encode(encoding))
    files, left_out = songs.find([str(playlist)])
    assert files == [f"{music}/a/a/é\x85.mp3", f"{music}/b.mp3", f"{music}/c d.ogg"]
    assert left_out == [(address, f"an address in {playlist}, not a file")]


def test_playlists_of_other_programs_and_damaged_ones_are_read(music):
    (music / "wide.m3u").write_bytes("b.mp3\r\na/é.mp3".encode("utf-16"))
    (music / "zero.m3u").write_bytes(b"b.mp3\nb\0.mp3\n")
    assert songs.find([f"{music}/wide.m3u"])[0] == [f"{music}/b.mp3", f"{music}/a/é.mp3"]
    assert songs.find([f"{music}/zero.m3u"])[0] == [f"{music}/b.mp3", f"{music}/b\0.mp3"]


def test_a_way_through_a_link_is_as_it_was_written(music):
    (music / "link").symlink_to(music / "a" / "b", target_is_directory=True)
    (music / "here.m3u").write_text("link/../z.FLAC\na/../b.mp3\n")  # link/.. is a, not this folder
    assert songs.find([f"{music}/here.m3u"])[0] == [f"{music}/link/../z.FLAC", f"{music}/b.mp3"]


def test_a_playlist_that_is_not_there_is_a_file_like_others():
    assert songs.find(["gone.m3u8"]) == (["gone.m3u8"], [])
