import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from evidence import digest, tensors
from evidence.errors import IntegrityError, InvalidInput
from tests.trainers import tiny
from trainers import predict, recipes
from trainers.data.load import load
from trainers.models import build

RESNET20_SHA256 = "02926273"
"""First digits of resnet20-12fca82f.safetensors."""


def model_file() -> bytes:
    model = build.build(tiny.run_config(), rng=np.random.default_rng(3))
    return tensors.encode(build.raw_tensors(build.model_tensors(model)))


def test_each_image_gets_a_class_and_probabilities_that_sum_to_one() -> None:
    cfg, batch = tiny.run_config(), tiny.dataset().test_images[:5]
    predictions = predict.predict(cfg, model_file(), batch)
    assert len(predictions) == 5
    for prediction in predictions:
        assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-5)
        assert prediction.label == int(np.argmax(prediction.probabilities))
        assert prediction.name == str(prediction.label)


def test_an_image_is_classified_alike_alone_and_among_others() -> None:
    cfg, batch = tiny.run_config(), tiny.dataset().test_images
    together = predict.predict(cfg, model_file(), batch)[7]
    alone = predict.predict(cfg, model_file(), batch[7:8])[0]
    np.testing.assert_allclose(alone.probabilities, together.probabilities, atol=1e-6)


def test_no_images_give_no_predictions() -> None:
    assert (
        predict.predict(tiny.run_config(), model_file(), np.empty((0, 1, 28, 28), np.uint8)) == []
    )


@pytest.mark.parametrize(
    "batch",
    [np.zeros((1, 28, 28), np.uint8), np.zeros((2, 3, 32, 32), np.uint8),
     np.zeros((2, 1, 28, 28), np.float32)],
    ids=["no_batch_axis", "other_shape", "other_dtype"],
)  # fmt: skip
def test_images_of_another_kind_are_refused(batch: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match=r"expected uint8 \(n, 1, 28, 28\)"):
        predict.predict(tiny.run_config(), model_file(), batch)


def test_a_model_of_another_shape_is_refused() -> None:
    other = tiny.run_config(model={"architecture": "mlp", "hidden": [24]})
    with pytest.raises(IntegrityError, match=r"tensor layers.0.bias: expected .* \(24,\)"):
        predict.predict(other, model_file(), tiny.dataset().test_images[:1])


def test_a_model_of_another_architecture_is_refused() -> None:
    other = tiny.run_config(model={"architecture": "mlp", "hidden": [16, 16]})
    with pytest.raises(IntegrityError, match=r"layers\.2\."):
        predict.predict(other, model_file(), tiny.dataset().test_images[:1])


def test_an_evaluation_is_the_mean_over_all_images() -> None:
    cfg, data = tiny.run_config(), tiny.dataset()
    result = predict.evaluate(cfg, model_file(), data)
    one_by_one = [
        predict.evaluate(
            cfg,
            model_file(),
            dataclasses.replace(
                data,
                test_images=data.test_images[i : i + 16],
                test_labels=data.test_labels[i : i + 16],
            ),
        )
        for i in range(0, 64, 16)
    ]
    assert result.samples == 64
    assert result.loss == pytest.approx(np.mean([part.loss for part in one_by_one]), rel=1e-6)
    assert result.accuracy == np.mean([part.accuracy for part in one_by_one])


def resnet20_file() -> bytes:
    for folder in filter(None, os.environ.get("ZEROPOINT_DATA_PATH", "").split(os.pathsep)):
        for path in sorted(Path(folder).rglob("*.safetensors")):
            data = path.read_bytes()
            if digest.of_bytes(data).startswith(RESNET20_SHA256):
                return data
    pytest.skip("the ResNet-20 weights are not on ZEROPOINT_DATA_PATH")


def test_a_resnet20_trained_elsewhere_has_our_tensors() -> None:
    data = resnet20_file()
    described = build.describe(recipes.load("cifar10_resnet"))["tensors"]
    assert [t["name"] for t in described] == list(tensors.decode(data))


@pytest.mark.slow
def test_a_resnet20_trained_elsewhere_scores_what_its_author_measured(cifar10_cache: Path) -> None:
    weights = resnet20_file()
    data = load("cifar10", cifar10_cache)
    cfg = recipes.load("cifar10_resnet")
    result = predict.evaluate(cfg, weights, data)
    assert result.accuracy == pytest.approx(0.9173, abs=0.0005)
