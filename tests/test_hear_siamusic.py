"""HEAR's interface: what hear-validator checks, and that a moment is where its timestamp says."""

import pytest
import torch

import hear_siamusic
import utils

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.fixture(scope="module")
def shipped():
    return hear_siamusic.load_model()


def noise(sounds, seconds, model):
    chance = torch.Generator().manual_seed(0)
    return torch.rand(sounds, int(seconds * model.sample_rate), generator=chance) * 2 - 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("which", ["shipped", "conv8"])
def test_it_has_what_hear_asks_for(which, device, pretrained_once):
    model = hear_siamusic.load_model(pretrained_once.experiment if which == "conv8" else "").to(device)
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate in (16000, 22050, 44100, 48000)
    scenes = hear_siamusic.get_scene_embeddings(noise(17, 0.74, model).to(device), model)  # more than at once
    assert scenes.shape == (17, model.scene_embedding_size)
    embeddings, timestamps = hear_siamusic.get_timestamp_embeddings(noise(3, 2, model).to(device), model)
    assert embeddings.shape == (*timestamps.shape, model.timestamp_embedding_size)
    assert len(timestamps) == 3
    for x in (scenes, embeddings, timestamps):
        assert x.dtype == torch.float32
        assert x.device.type == device
        assert x.isfinite().all()
        assert not x.requires_grad
    apart = timestamps.diff()
    assert (apart > 0).all()
    assert apart.numel() == 0 or (apart - apart.mean()).abs().max() < 1e-3
    assert timestamps.max() <= 2000


def test_moments_are_close_together_and_where_they_say(shipped):
    audio = 0.01 * noise(1, 3, shipped)
    audio[:, int(1.4 * 44100) : int(1.45 * 44100)] *= 50  # a burst
    embeddings, timestamps = hear_siamusic.get_timestamp_embeddings(audio, shipped)
    assert timestamps[0].diff().max() <= 50
    unusual = (embeddings[0] - embeddings[0].median(0).values).norm(dim=1)
    heard = timestamps[0, unusual > unusual.max() / 2].sort().values  # by columns that stand there, or beside it
    beside = 1000 * shipped.parts * shipped.apart
    torch.testing.assert_close(heard.view(3, -1).mean(1), 1425 + beside * torch.tensor([-1.0, 0, 1]), atol=25, rtol=0)


def test_between_its_own_moments_the_network_is_itself(shipped):
    audio = noise(2, 3, shipped)
    embeddings, _ = hear_siamusic.get_timestamp_embeddings(audio, shipped)
    with torch.no_grad():
        own = shipped.columns(shipped.hear.spectrogram(audio))
    torch.testing.assert_close(embeddings[:, :: shipped.parts], own, atol=1e-4, rtol=1e-4)


def test_of_another_precision_sounds_have_the_same_embeddings(shipped):
    audio = noise(1, 1, shipped)
    same = hear_siamusic.get_scene_embeddings(audio, shipped)
    assert torch.equal(hear_siamusic.get_scene_embeddings(audio.double(), shipped), same)


@pytest.mark.parametrize("samples", [1, 1000, 30000])
def test_short_and_silent_sounds_have_embeddings(shipped, samples):
    for audio in (torch.zeros(2, samples), torch.full((2, samples), 0.5)):
        embeddings, timestamps = hear_siamusic.get_timestamp_embeddings(audio, shipped)
        assert embeddings.isfinite().all()
        assert timestamps.shape[1] == 1 + samples // shipped.hop_length
        assert hear_siamusic.get_scene_embeddings(audio, shipped).isfinite().all()


def test_what_is_no_batch_of_sounds_is_refused(shipped):
    with pytest.raises(utils.UserError, match="n_sounds, n_samples"):
        hear_siamusic.get_scene_embeddings(torch.zeros(100), shipped)
    for audio in (torch.zeros(1, 100, dtype=torch.int16), [[0.0] * 100]):
        with pytest.raises(utils.UserError, match="floating-point"):
            hear_siamusic.get_scene_embeddings(audio, shipped)
    for wrong in (torch.nan, torch.inf):
        with pytest.raises(utils.UserError, match="not finite"):
            hear_siamusic.get_timestamp_embeddings(torch.full((1, 100), wrong), shipped)
    with pytest.raises(utils.UserError, match="no experiment"):
        hear_siamusic.load_model("nowhere")
