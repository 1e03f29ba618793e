"""Views: the pipeline's promises for every augmentation, then each augmentation against what it claims to be."""

import itertools
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import augment
from augment import audio, common, image, spec
from benchmarks import augmentations as measured
from data.logmel import default_settings
from data.settings import Embedding, Waveform
from utils import UserError

SLANEY = replace(default_settings(), n_mels=40)
HTK = replace(SLANEY, mel_scale="htk", f_min=60.0, f_max=8000.0)
SINGLES = [f"{family}:{name}" for family, table in augment.FAMILIES.items() for name in table]
NAMES = [*SINGLES, *augment.FAMILIES, "none", "mask,mixup", "time_stretch,spec:resized_crop"]
MIXING = ["image:mixup", "image:cutmix", "audio:mixup", "spec:log_mixup"]
CLIPS = Path(__file__).parents[2] / "shared/datasets/gtzan_audio"


def decibels(augmentation, size=6, bands=40, frames=50, dtype=torch.float32):
    """Random spectrograms, as long as the augmentation wants them."""
    torch.manual_seed(1)
    return (-80 * torch.rand(size, 1, bands, round(frames * augmentation.context))).to(dtype)


# ------------------------------------------------------------------ the pipeline


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_views_and_another_seed_others(name):
    augmentation = augment.build(name, SLANEY)
    x = decibels(augmentation, size=16)
    views = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        views.append(augmentation(x, 50))
    assert torch.equal(views[0], views[1])
    assert torch.equal(views[0], views[2]) == (name == "none")


@pytest.mark.parametrize("name", NAMES)
def test_input_is_left_alone(name):
    augmentation = augment.build(name, SLANEY, aug_p=1)
    x = decibels(augmentation)
    before = x.clone()
    augmentation(x, 50)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_aug_p_0_is_the_central_crop(name, dtype):
    augmentation = augment.build(name, SLANEY, aug_p=0)
    x = decibels(augmentation, dtype=dtype)
    start = (x.shape[3] - 50) // 2
    assert torch.equal(augmentation(x, 50), x[..., start : start + 50])


@pytest.mark.parametrize("name", SINGLES)
def test_aug_p_is_the_probability_for_each_sample(name):
    augmentation = augment.build(name, SLANEY, aug_p=0.3)
    x = decibels(augmentation, size=1000, bands=12, frames=12)
    torch.manual_seed(0)
    changed = (augmentation(x, 12) != common.centre(x, 12)).flatten(1).any(1)
    narrow = 0.07 if "mask" in name else 0.0  # of width 0: nothing to see on 12 bands
    assert 0.26 - narrow < changed.float().mean() < 0.34


@pytest.mark.parametrize("name", [name for name in SINGLES if name not in MIXING and "flip" not in name])
def test_each_sample_draws_its_own_parameters(name):
    augmentation = augment.build(name, SLANEY, aug_p=1)
    x = decibels(augmentation, size=1).expand(8, -1, -1, -1)
    views = augmentation(x, 50)
    same = sum(torch.equal(a, b) for a, b in itertools.combinations(views, 2))
    assert same <= 2  # of 28 pairs: two narrow masks may fall together


def test_cutmix_draws_its_own_box_for_each_sample():
    x = torch.arange(8.0)[:, None, None, None].expand(8, 1, 20, 20)
    foreign = image.cutmix(x, torch.full((8,), 0.7)) != x
    assert len({tuple(box.flatten().tolist()) for box in foreign}) > 5


@pytest.mark.parametrize("name", MIXING)
def test_lam_1_mixes_nothing_and_a_smaller_lam_does(name):
    for lam, unmixed in ((1.0, True), (0.6, False)):
        augmentation = augment.build(name, SLANEY, lam=lam, aug_p=1)
        x = decibels(augmentation)
        assert torch.equal(augmentation(x, 50), x) == unmixed


@pytest.mark.parametrize("name", NAMES)
def test_silence_stays_silent(name):
    augmentation = augment.build(name, SLANEY, aug_p=1)
    x = torch.full((4, 1, 40, round(50 * augmentation.context)), -80.0)
    view = augmentation(x, 50)
    assert bool(((view >= -80.001) & (view <= -80 + spec.GAIN[1])).all())  # fails on NaN as well


@given(
    name=st.sampled_from(NAMES),
    size=st.integers(1, 5),
    bands=st.integers(2, 40),
    frames=st.integers(2, 60),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    scale=st.sampled_from([SLANEY, HTK]),
)
@settings(deadline=None, max_examples=300)
def test_any_shape_and_dtype_come_back_within_the_range_of_decibels(name, size, bands, frames, dtype, scale):
    augmentation = augment.build(name, scale, aug_p=1)
    x = decibels(augmentation, size, bands, frames, dtype)
    view = augmentation(x, frames)
    assert view.shape == (size, 1, bands, frames)
    assert view.dtype == dtype
    assert bool(((view >= -80) & (view <= 0.01)).all())  # fails on NaN as well


def test_a_clip_without_context_is_enough():
    for name in augment.FAMILIES:
        x = decibels(augment.build("none", SLANEY))
        assert augment.build(name, SLANEY, aug_p=1)(x, 50).isfinite().all()
    with pytest.raises(ValueError, match="51 frames"):
        augment.build("spec", SLANEY)(x, 51)


def test_names_families_and_prefixes():
    def stages(names):
        return augment.build(names, SLANEY).augmentations

    assert stages("mixup") == stages("image:mixup") == [image.FAMILY["mixup"]]
    assert stages("audio:mixup") == [audio.FAMILY["mixup"]]
    assert stages("mask, audio") == [image.FAMILY["mask"], *audio.FAMILY.values()]
    assert stages("none") == []
    assert spec.FAMILY["time_mask"] in stages("time_mask")
    assert spec.FAMILY["time_mask"] not in stages("spec")
    assert all(name.split(":")[1] in augment.describe() for name in SINGLES)


def test_the_papers_probabilities():
    table = {name: augmentation.probability for name, augmentation in image.FAMILY.items()}
    assert table.pop("mask") == 0.4
    assert {table.pop(name) for name in ("horizontal_flip", "vertical_flip", "cutout")} == {0.8}
    assert set(table.values()) == {augmentation.probability for augmentation in audio.FAMILY.values()} == {0.6}


def test_context_is_what_is_read():
    contexts = {name: augment.build(name, SLANEY).context for name in ("none", "image", "spec", "audio")}
    assert contexts == {"none": 1.0, "image": 1.0, "spec": 1.25, "audio": 1.5}
    assert augment.build("audio,spec", SLANEY).context == 1.5 * 1.25


@pytest.mark.parametrize("names", ["flip", "audio:mask", "mask,,mixup", "", "image:", ":mixup:"])
def test_unknown_names_are_answered_with_those_that_exist(names):
    with pytest.raises(UserError, match="pitch_shift"):
        augment.build(names, SLANEY)


@pytest.mark.parametrize("option", [{"lam": 1.2}, {"aug_p": -0.1}, {"lam": float("nan")}])
def test_weights_and_probabilities_outside_0_to_1_are_refused(option):
    with pytest.raises(UserError, match="between 0 and 1"):
        augment.build("image", SLANEY, **option)


@pytest.mark.parametrize("settings", [Waveform(), Embedding()])
def test_only_spectrograms_are_augmented(settings):
    assert augment.choose(None, settings) == augment.choose("none", settings) == "none"
    with pytest.raises(UserError, match=f"this dataset holds {settings.kind}s: --aug none"):
        augment.choose("spec", settings)
    assert augment.choose(None, SLANEY) == "spec"


# ------------------------------------------------------------------ what they share


@pytest.mark.parametrize("size", [1, 2, 3, 16])
def test_nobody_is_mixed_with_itself_unless_it_is_alone(size):
    x = torch.arange(size)
    for _ in range(20):
        partner = common.partners(x)
        assert sorted(partner.tolist()) == x.tolist()
        assert bool((partner == x).any()) == (size == 1)


def test_resample_is_numpys_interpolation():
    x, positions = torch.randn(3, 1, 7, 9), 12 * torch.rand(3, 20) - 2
    rows, frames = common.resample(x, positions, 2), common.resample(x, positions, 3)
    for b, p in enumerate(positions.numpy()):
        expected_rows = [np.interp(p, np.arange(7), column) for column in x[b, 0].T.numpy()]
        expected_frames = [np.interp(p, np.arange(9), row) for row in x[b, 0].numpy()]
        np.testing.assert_allclose(rows[b, 0].T.numpy(), expected_rows, atol=1e-5)
        np.testing.assert_allclose(frames[b, 0].numpy(), expected_frames, atol=1e-5)


# ------------------------------------------------------------------ image


def test_image_mixup_is_the_weighted_mean():
    x = decibels(augment.build("none", SLANEY), size=2)
    torch.testing.assert_close(image.mixup(x, torch.tensor([0.7, 0.9]))[0], 0.7 * x[0] + 0.3 * x[1])


def test_cutmix_replaces_a_box_of_1_minus_lam():
    x = torch.stack([torch.zeros(1, 60, 100), torch.ones(1, 60, 100)])
    foreign = image.cutmix(x, torch.tensor([0.7, 0.7]))[0, 0]
    assert foreign.mean().item() == pytest.approx(0.3, abs=0.01)
    rows, frames = foreign.amax(1), foreign.amax(0)
    assert torch.equal(foreign, torch.outer(rows, frames))  # a box …
    assert int(rows.diff().abs().sum()) <= 2  # … in one piece
    assert int(frames.diff().abs().sum()) <= 2


def test_flips():
    x, on = decibels(augment.build("none", SLANEY), size=2), torch.tensor([True, False])
    for flip, dim in ((image.horizontal_flip, 3), (image.vertical_flip, 2)):
        assert torch.equal(flip(x, on), torch.stack([x[0].flip(dim - 1), x[1]]))


@pytest.mark.parametrize(
    ("cover", "widest"),
    [
        (image.mask, 2 * image.MASK_PART),
        (image.cutout, image.CUTOUT_PART[1] ** 2),
        (spec.time_mask, spec.MASK_PART),
        (spec.frequency_mask, spec.MASK_PART),
    ],
)
def test_covers_fill_with_the_mean_of_each_band(cover, widest):
    x = decibels(augment.build("none", SLANEY), size=64)
    view = cover(x, torch.ones(64, dtype=torch.bool))
    covered = view != x
    means = x.mean((0, 1, 3), keepdim=True).expand_as(x)
    torch.testing.assert_close(view[covered], means[covered])
    parts = covered.float().mean((1, 2, 3))
    assert 0.5 * widest < parts.max() <= widest + 0.03


def test_grid_distortion_moves_the_inside_and_keeps_the_order_and_the_edges():
    ramp = torch.arange(50.0).expand(4, 1, 40, 50)
    view = image.grid_distortion(ramp, torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(view[..., [0, -1]], ramp[..., [0, -1]])
    assert bool((view.diff(dim=3) > 0).all())
    assert bool(((view - ramp).abs().amax((1, 2, 3)) > 1).all())


# ------------------------------------------------------------------ spec


def test_resized_crop_reads_a_window_within_its_limits():
    frames = 400
    rows = torch.arange(40.0)[:, None].expand(64, 1, 40, frames)
    columns = torch.arange(float(frames)).expand(64, 1, 40, frames)
    on = torch.ones(64, dtype=torch.bool)
    length = spec.resized_crop(columns, on, 320).diff(dim=3)[:, 0, 20, 160]
    assert 0.8 <= length.min() < 0.85
    assert 1.2 < length.max() <= 1.25
    height = spec.resized_crop(rows, on, 320).diff(dim=2)[:, 0, 20, 160]
    assert 0.85 <= height.min() < 0.88
    assert 1.12 < height.max() <= 1.1501


def test_gain_stays_within_the_range():
    x = torch.tensor([-80.0, -40.0, 0.0]).expand(100, 1, 3, 3)
    view = spec.gain(x, torch.ones(100, dtype=torch.bool), -80.0)
    moved = view[:, 0, 0, 1] + 40
    assert -3 <= moved.min() < -2.5
    assert 2.5 < moved.max() <= 3
    assert (view.min(), view.max()) == (-80, 0)


# ------------------------------------------------------------------ audio


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_scales_are_librosas(scale):
    hertz = torch.linspace(0, 11025, 500, dtype=torch.float64)
    mel = torch.from_numpy(librosa.hz_to_mel(hertz.numpy(), htk=scale == "htk"))
    torch.testing.assert_close(audio.hertz_to_mel(hertz, scale), mel)
    torch.testing.assert_close(audio.mel_to_hertz(mel, scale), hertz)


@pytest.mark.parametrize("scale", [SLANEY, HTK])
def test_bands_are_where_librosa_has_them(scale):
    centres = librosa.mel_frequencies(42, fmin=scale.f_min, fmax=scale.f_max, htk=scale is HTK)[1:-1]
    hertz = audio.band_to_hertz(torch.arange(40), 40, scale)
    np.testing.assert_allclose(hertz.numpy(), centres, rtol=1e-4)
    torch.testing.assert_close(audio.hertz_to_band(hertz, 40, scale), torch.arange(40.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("scale", [SLANEY, HTK])
@pytest.mark.parametrize("semitones", [-4.0, 2.5, 4.0])
def test_a_shifted_tone_lies_where_the_higher_tone_would(scale, semitones):
    def tone(hertz):
        wave = np.sin(2 * np.pi * hertz * np.arange(22050) / 22050).astype(np.float32)
        return torch.from_numpy(librosa.power_to_db(measured.mel_power(wave, scale), ref=np.max))[None, None]

    for hertz in (500.0, 1500.0, 4000.0):
        view = audio.pitch_shift(tone(hertz), torch.tensor([semitones]), scale)
        peaks = [x[0, 0, :, 20].argmax().item() for x in (view, tone(hertz * 2 ** (semitones / 12)))]
        assert abs(peaks[0] - peaks[1]) <= 1


@pytest.mark.parametrize("rate", [0.6, 1.5])
def test_stretched_beats_come_at_the_new_tempo(rate):
    beat = torch.cos(2 * torch.pi * torch.arange(601) / 40).expand(1, 1, 4, 601)
    view = audio.time_stretch(beat, torch.tensor([rate]), 401)[0, 0, 0]
    expected = torch.cos(2 * torch.pi * (300 + rate * (torch.arange(401) - 200.0)) / 40)
    torch.testing.assert_close(view, expected, atol=0.01, rtol=0)


def test_audio_mixup_adds_power():
    x = decibels(augment.build("none", SLANEY), size=2)
    power = 10 ** (x.double() / 10)
    expected = 10 * torch.log10(0.7 * power[0] + 0.3 * power[1])
    torch.testing.assert_close(audio.mixup(x, torch.tensor([0.7, 0.9]))[0].double(), expected, atol=1e-4, rtol=0)


def test_audio_family_against_the_waveform_on_real_clips():
    """Lower bounds a little under what ``benchmarks.augmentations --verify`` measures on 50 clips."""
    if not CLIPS.is_dir():
        pytest.skip("needs the real clips of ../shared/datasets/gtzan_audio")
    clips = [CLIPS / genre / f"{genre}.00002.mp3" for genre in ("blues", "classical", "metal", "pop")]
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in measured.verify(clips)[2:]}
    assert len(rows) == 7
    for name, (_, mean, lowest, before, off) in rows.items():
        if name.startswith("mean of the dB"):
            assert mean < rows["mixup, lam 0.7"][1] - 0.02
            continue
        assert mean > (0.99 if "mixup" in name else 0.94)
        assert lowest > 0.90
        assert mean > before + 0.05
        assert abs(off) < 4
    assert min(rows[f"time stretch {rate}"][1] for rate in (0.7, 1.4)) > 0.955
