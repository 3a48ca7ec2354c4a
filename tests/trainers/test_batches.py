import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.trainers import tiny
from trainers.batches import Batches, Cursor, crop_and_flip

DATA = tiny.dataset()


def test_an_epoch_shows_each_sample_once_and_drops_the_rest() -> None:
    batches = Batches(tiny.run_config(batch_size=48), DATA, seed=1)
    shown = np.concatenate([batches.at(step)[0] for step in range(1, 6)])
    assert len(shown) == 240
    assert len(np.unique(shown.reshape(240, -1), axis=0)) == 240
    assert batches.cursor(5) == Cursor(0, 4)
    assert batches.cursor(6) == Cursor(1, 0)


@given(steps=st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_a_batch_depends_on_its_step_alone(steps: list[int]) -> None:
    cfg = tiny.run_config(augmentation="crop_flip")
    used = Batches(cfg, DATA, seed=1)
    for step in steps:
        images, labels = used.at(step)
        fresh_images, fresh_labels = Batches(cfg, DATA, seed=1).at(step)
        np.testing.assert_array_equal(images, fresh_images)
        np.testing.assert_array_equal(labels, fresh_labels)


def test_another_seed_gives_another_order() -> None:
    one, two = (Batches(tiny.run_config(), DATA, seed=seed).at(1)[0] for seed in (1, 2))
    assert not np.array_equal(one, two)


def test_a_crop_is_a_shifted_window_of_the_padded_image() -> None:
    images = DATA.train_images[:40]
    padded = np.pad(images, ((0, 0), (0, 0), (4, 4), (4, 4)))
    cropped = crop_and_flip(images, rng=np.random.default_rng(3))
    for image, whole in zip(cropped, padded, strict=True):
        windows = [
            whole[:, top : top + 28, left : left + 28] for top in range(9) for left in range(9)
        ]
        assert any(np.array_equal(image, seen) for w in windows for seen in (w, w[:, :, ::-1]))
