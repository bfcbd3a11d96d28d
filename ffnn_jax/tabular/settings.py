"""How a table is trained on: every choice with a default, from flags or from a TOML file."""

import dataclasses
import functools
import os
import tomllib
import types
import typing
from typing import Any

import optax

from ffnn_jax import checks
from ffnn_jax.activations import ACTIVATIONS
from ffnn_jax.losses import find_loss
from ffnn_jax.tabular.tables import TableError

OPTIMIZERS = {
    "adam": optax.adam,
    "adamw": optax.adamw,
    "sgd": optax.sgd,
    "momentum": functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    "rmsprop": optax.rmsprop,
    "lion": optax.lion,
}
SCHEDULES = ("constant", "cosine", "warmup")
SPLITS = ("auto", "row", "class", "time")


def _choice(default: Any, about: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": about})


@dataclasses.dataclass(frozen=True)
class Settings:
    """The choices of one training, each with what it does."""

    file: str = _choice("", "a CSV, Parquet, npz or IDX file, or a named set")
    target: str = _choice("", "the column that is predicted")
    task: str = _choice("", "classification or regression; not given: as the target says")
    hidden: tuple[int, ...] = _choice((128, 64), "units of each hidden layer; none: a linear model")
    activation: str = _choice("relu", "of the hidden layers")
    loss: str = _choice("", 'by name, such as "huber(1.5)"; not given: the task\'s own')
    optimizer: str = _choice("adam", "how steps are made of gradients")
    learning_rate: float = _choice(1e-3, "η; where it moves, its highest")
    schedule: str = _choice(
        "constant",
        "of the rate; cosine falls to 0, warmup rises for a twentieth of the steps first",
    )
    batch_size: int = _choice(0, "rows a step; 0: from 16 to 256 by the number of rows")
    epochs: int = _choice(200, "passes over the rows, at most")
    patience: int = _choice(
        20, "stop after so many epochs without a better validation loss; 0: off"
    )
    class_weight: str = _choice("", "balanced: every class weighs the same in all")
    sample_weight: str = _choice("", "the column that holds the weights of the rows")
    l2: float = _choice(
        -1.0, "λ of λ Σ W², added to the loss; -1: 3 / rows for classes, 15 / rows for a quantity"
    )
    dropout: float = _choice(0.0, "the share of hidden units that is dropped at each step")
    validation: float = _choice(0.15, "the share of the rows that training is stopped by")
    test: float = _choice(0.15, "the share of the rows put aside for the figures of the report")
    split: str = _choice(
        "auto", "how: row, class (each keeps its share), time (the last rows); auto: class or row"
    )
    refit: bool = _choice(True, "train the model that is kept once more, on all rows")
    drop: tuple[str, ...] = _choice((), "columns that are not used")
    categorical: tuple[str, ...] = _choice((), "columns whose numbers are names")
    seed: int = _choice(0, "of the split, the parameters and the order of the rows")
    threads: int = _choice(
        0, "of XLA on a CPU: with equal ones a run has equal bits; 0: one a core that is there"
    )

    def __post_init__(self) -> None:
        kinds = typing.get_type_hints(type(self))
        for name, kind in kinds.items():
            object.__setattr__(self, name, _of_kind(name, kind, getattr(self, name)))
        for name, least, most in RANGES:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not least <= number <= most:
                    raise ValueError(f"{name}: expected {least} to {most}, got {number}")
        for name, known in NAMES.items():
            checks.check_name(name, getattr(self, name), known)
        if self.loss:
            find_loss(self.loss)
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate: expected a number above 0, got {self.learning_rate}")
        if self.validation + self.test >= 1:
            raise ValueError("validation, test: together they have to leave rows to train on")
        if self.patience and not self.validation:
            raise ValueError("patience: stopping needs validation rows; give patience 0 without")

    def to_toml(self) -> str:
        """The text of a file that `from_toml` reads."""
        return _tomli_w().dumps(dataclasses.asdict(self))


RANGES = (
    ("hidden", 1, 65536),
    ("learning_rate", 0, 1e6),
    ("batch_size", 0, 10**9),
    ("epochs", 1, 10**9),
    ("patience", 0, 10**9),
    ("l2", -1, 1e6),
    ("dropout", 0, 0.99),
    ("validation", 0, 0.9),
    ("test", 0, 0.9),
    ("seed", 0, 2**32 - 1),
    ("threads", 0, 1024),
)
NAMES = {
    "task": ("", "classification", "regression"),
    "activation": ACTIVATIONS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "class_weight": ("", "balanced"),
    "split": SPLITS,
}


def read_settings(path: str | os.PathLike[str] | None, given: dict[str, Any]) -> Settings:
    """The settings of a TOML file, and over them those given.

    Raises:
      OSError: the file cannot be opened.
      TableError: it is no TOML, or has a name that is no setting.
      TypeError, ValueError: a setting has a value that it cannot have.
    """
    return Settings(**{**({} if path is None else _from_file(path)), **given})


def make_optimizer(settings: Settings, steps: int) -> optax.GradientTransformation:
    """The optimizer, its rate over so many steps; without a schedule always the same object."""
    rate, name = settings.learning_rate, settings.optimizer
    if settings.schedule == "cosine":
        return OPTIMIZERS[name](optax.cosine_decay_schedule(rate, steps))
    if settings.schedule == "warmup":
        warm = max(1, steps // 20)
        end = max(steps, warm + 1)
        return OPTIMIZERS[name](optax.warmup_cosine_decay_schedule(0.0, rate, warm, end))
    return _at_one_rate(name, rate)


@functools.cache  # another object would be compiled anew
def _at_one_rate(name: str, rate: float) -> optax.GradientTransformation:
    return OPTIMIZERS[name](rate)


def _from_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            given = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TableError(f"{path}: no TOML: {error}") from None
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in given:
        try:
            checks.check_name("setting", name, known)
        except ValueError as error:
            raise TableError(f"{path}: {error}") from None
    return given


def _of_kind(name: str, kind: Any, value: Any) -> Any:
    """The value as the kind of its field, a list for a tuple and an int for a float taken."""
    if isinstance(kind, types.GenericAlias):
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name}: expected a list, got {value!r}")
        return tuple(_of_kind(name, kind.__args__[0], item) for item in value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise TypeError(f"{name}: expected {kind.__name__}, got {value!r}")
    return value


def _tomli_w() -> Any:
    try:
        import tomli_w
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"writing settings needs tomli-w ({error}): pip install 'ffnn_jax[cli]'",
            name=error.name,
        ) from error
    return tomli_w
