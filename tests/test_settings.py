"""Settings: from flags, from TOML, and each with what it can be."""

import jax
import jax.numpy as jnp
import optax
import pytest

from ffnn_jax.tabular.settings import OPTIMIZERS, SCHEDULES, Settings, make_optimizer, read_settings
from ffnn_jax.tabular.tables import TableError


def test_through_toml(tmp_path):
    settings = Settings(hidden=(3, 4), drop=("a b", 'q"'), learning_rate=1, refit=False)
    path = tmp_path / "c.toml"
    path.write_text(settings.to_toml())
    assert read_settings(path, {}) == settings
    assert read_settings(path, {"seed": 3}).seed == 3
    assert settings.learning_rate == 1.0


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"hidden": (0,)}, ValueError, "hidden: expected 1 to"),
        ({"hidden": 3}, TypeError, "hidden: expected a list"),
        ({"hidden": ("a",)}, TypeError, "hidden: expected int"),
        ({"epochs": 1.5}, TypeError, "epochs: expected int"),
        ({"epochs": 0}, ValueError, "epochs: expected 1 to"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate: expected a number above 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate"),
        ({"patience": -1}, ValueError, "patience: expected 0 to"),
        ({"patience": 5, "validation": 0.0}, ValueError, "patience: stopping needs validation"),
        ({"test": 0.6, "validation": 0.5}, ValueError, "leave rows to train on"),
        ({"activation": "rel"}, ValueError, "Did you mean 'relu'"),
        ({"optimizer": "adm"}, ValueError, "Did you mean 'adam'"),
        ({"schedule": "poly"}, ValueError, "schedule"),
        ({"seed": True}, TypeError, "seed: expected int"),
    ],
)
def test_what_a_setting_cannot_be(given, error, words):
    with pytest.raises(error, match=words):
        Settings(**given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", "Did you mean 'epochs'"),
        ("epochs = ", "no TOML"),
        ("a = " + "[" * 5000, "no TOML"),
        (b"\xff\xfe", "no TOML"),
    ],
)
def test_a_file_that_is_none(tmp_path, text, words):
    path = tmp_path / "c.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TableError, match=words):
        read_settings(path, {})


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(optimizer, schedule):
    made = make_optimizer(Settings(optimizer=optimizer, schedule=schedule), 100)
    assert isinstance(made, optax.GradientTransformation)


def test_schedules_move_the_rate():
    def steps(schedule):
        optimizer = make_optimizer(
            Settings(optimizer="sgd", schedule=schedule, learning_rate=1.0), 100
        )
        state, moved = optimizer.init(jnp.zeros(())), []
        for _ in range(100):
            with jax.numpy_dtype_promotion("standard"):  # as optax's schedules need it
                update, state = optimizer.update(jnp.ones(()), state)
            moved.append(-float(update))
        return moved

    assert set(steps("constant")) == {1.0}
    assert steps("cosine")[0] == 1.0
    assert steps("cosine")[-1] < 0.01
    assert steps("warmup")[0] == 0.0
    assert max(steps("warmup")) == steps("warmup")[5]
