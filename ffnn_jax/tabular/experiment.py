"""One training, from rows to a model: split, prepare, fit, look at the test rows, fit on all.

1. rows are put aside: some to stop by (validation), some for the figures (test)
2. the columns are prepared by the figures of the training rows, and a network is fitted
3. its figures are taken on the test rows, which nothing was chosen by
4. the model that is kept is fitted anew on all rows, for as many epochs as were best in 2
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ffnn_jax.backprop import loss
from ffnn_jax.checkpoint import Checkpoints, ShardedCheckpoints
from ffnn_jax.data import split
from ffnn_jax.fitting import Fit, fit
from ffnn_jax.gradcheck.primal import quick_options
from ffnn_jax.losses import is_cross_entropy
from ffnn_jax.network import Network
from ffnn_jax.penalties import penalized
from ffnn_jax.processes import agree
from ffnn_jax.sharding.alike import described
from ffnn_jax.sharding.host_arrays import gathered
from ffnn_jax.tabular.decisions import prepare_column, prepare_pictures, prepare_target
from ffnn_jax.tabular.models import Model
from ffnn_jax.tabular.preparation import Category, Number, Preparation, Target
from ffnn_jax.tabular.settings import Settings, make_optimizer
from ffnn_jax.tabular.sources import Source, with_weights
from ffnn_jax.tabular.tables import TableError
from ffnn_jax.tabular.values import as_numbers, holds_numbers, is_missing
from ffnn_jax.weights import class_weights

OnEpochs = Callable[[list[dict[str, Any]], Network, Any, "Rows"], None]
FEWEST_ROWS = 10
FEWEST_STEPS = 500  # of the network that is fitted to all rows
QUICKEST, AS_IT_IS = 1e7, 1e8  # multiply-adds of a forward pass over all rows


class Parts(NamedTuple):
    """The places of the rows of each part; validation and test may be empty."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Rows(NamedTuple):
    """Rows as the network sees them.

    Attributes:
      x: float32 (N, n_0).
      y: classes, int32 (N,), or the standardised quantity, float32 (N, 1).
      weights: float32 (N,), or None.
    """

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None


class Setup(NamedTuple):
    """What is decided before the first step.

    Attributes:
      settings: as given.
      source: its rows, those without a target left out.
      target: what is predicted.
      parts: how the rows are split.
      notes: what a person should know: rows and columns that were left out.
    """

    settings: Settings
    source: Source
    target: Target
    parts: Parts
    notes: tuple[str, ...]


class Fitted(NamedTuple):
    """One network, fitted to some of the rows.

    Attributes:
      model: the network and its preparation.
      rows: what it was fitted to.
      fit: the result of `fit`.
    """

    model: Model
    rows: Rows
    fit: Fit


# Before the first step ---------------------------------------------------------------------------


def set_up(settings: Settings, source: Source) -> Setup:
    """Looks at the target and splits the rows.

    Raises:
      TableError: the target or a column of weights cannot be used, or the rows are too few.
    """
    notes = []
    source = source._replace(numbers=np.arange(1, len(source.target) + 1))
    if settings.sample_weight:
        source = with_weights(source, settings.sample_weight)
    present = ~is_missing(source.target)
    if not present.all():
        notes.append(f"{(~present).sum()} rows have no target, and are left out")
        source = source.take(np.flatnonzero(present))
    if len(source.target) < FEWEST_ROWS:
        raise TableError(
            f"{source.name}: expected at least {FEWEST_ROWS} rows with a target, got "
            f"{len(source.target)}"
        )
    log = settings.loss == "poisson"
    target = prepare_target(source.target_name, source.target, task=settings.task or None, log=log)
    _check_columns(settings, source)
    if settings.class_weight and not target.classes:
        raise TableError(f"--class-weight: {target.name!r} is a quantity, and has no classes")
    if settings.loss and not target.classes and _of_classes(settings.loss):
        raise TableError(f"--loss: {settings.loss!r} is of classes, and {target.name!r} a quantity")
    parts = split_rows(settings, target, target.encode(source.target))
    return Setup(settings, source, target, parts, tuple(notes))


def _of_classes(loss: str) -> bool:
    return is_cross_entropy(loss) or loss == "binary_cross_entropy"


def _check_columns(settings: Settings, source: Source) -> None:
    """The columns that settings name are there, and every number is finite."""
    if isinstance(source.rows, np.ndarray):
        return
    there = set(source.rows.columns)
    for name in (*settings.drop, *settings.categorical):
        if name not in there:
            raise TableError(
                f"{source.name}: there is no column {name!r} to drop or to take as categorical; "
                f"the columns are {', '.join(source.rows.columns)}"
            )
    for column in source.rows:
        if column.name not in settings.drop and holds_numbers(column):
            as_numbers(column)


def split_rows(settings: Settings, target: Target, y: np.ndarray) -> Parts:
    """The places of the rows of each part."""
    by = settings.split
    if by == "auto":
        by = "class" if target.classes else "row"
    left, none = np.arange(len(y)), np.arange(0)
    parts = {"test": none, "validation": none}
    for name, share in (("test", settings.test), ("validation", settings.validation)):
        if share:
            options = {} if by == "time" else {"seed": settings.seed}
            fraction = min(share * len(y) / len(left), 0.9)
            (left, _), (parts[name], _) = split(left, y[left], fraction=fraction, by=by, **options)
    return Parts(left, parts["validation"], parts["test"])


def prepare(setup: Setup, places: np.ndarray) -> tuple[Preparation, list[str]]:
    """How rows become x, by the figures of the rows at these places, and the columns left out."""
    source, settings, notes = setup.source, setup.settings, []
    if isinstance(source.rows, np.ndarray):
        return Preparation((), setup.target, prepare_pictures(source.rows[places])), notes
    columns: list[Number | Category] = []
    for name in source.rows.columns:
        if name not in settings.drop:
            values, categorical = source.rows[name][places], name in settings.categorical
            column, why = prepare_column(name, values, categorical=categorical)
            columns += [column] if column else []
            notes += [] if column else [f"column {name!r} is left out: {why}"]
    if not columns:
        raise TableError("; ".join([f"{source.name}: no column is left to learn from", *notes]))
    return Preparation(tuple(columns), setup.target), notes


def rows_at(setup: Setup, preparation: Preparation, places: np.ndarray) -> Rows:
    """The rows at these places as the network sees them; a category not seen is missing."""
    some = setup.source.take(places)
    x = preparation.encode(some.rows, unknown="missing")
    y = setup.target.encode(some.target)
    weights = some.weights
    if setup.settings.class_weight and setup.target.classes:
        balance = class_weights(y).astype(np.float64)
        weights = balance if weights is None else weights * balance
    return Rows(x, y, None if weights is None else weights.astype(np.float32))


def network_of(setup: Setup, inputs: int) -> Network:
    """The network of the settings, between so many inputs and the target."""
    settings, classes = setup.settings, len(setup.target.classes)
    return Network(
        sizes=(inputs, *settings.hidden, classes or 1),
        activation=settings.activation,
        output="softmax" if classes else "linear",
        loss=settings.loss or None,
        dropout=settings.dropout if settings.hidden else 0.0,
    )


def batch_size_of(settings: Settings, rows: int) -> int:
    """As set, or a power of two near a thirtieth of the rows, from 16 to 256."""
    if settings.batch_size:
        return min(settings.batch_size, rows)
    return min(rows, max(16, min(256, 2 ** round(math.log2(max(rows / 30, 1))))))


def l2_of(settings: Settings, target: Target, rows: int) -> float:
    """λ as set, or C/N: a prior over W that is the same however many rows there are.

    ℒ + (C/N) Σ W² is (1/N)(Σ_i ℓ_i + C Σ W²): the more rows, the less the prior counts. The two C
    are the best on scikit-learn's real sets, of 0.3 to 10 for classes and 1 to 100 for quantities.
    """
    if settings.l2 >= 0:
        return settings.l2
    return (3.0 if target.classes else 15.0) / rows


def epochs_on_all_rows(settings: Settings, fitted: "Fitted", rows: int) -> int:
    """How many epochs were best, but no fewer than make FEWEST_STEPS steps.

    On few rows the loss on still fewer is too noisy to tell that a handful of epochs are enough,
    and with the prior over W more of them do little harm: R² of diabetes 0.467 in place of 0.445,
    mean of ten splits (0.465 and 0.464 with 1,000 and 1,500 steps).
    """
    best = fitted.fit.best_epoch
    epochs = len(fitted.fit.history.loss) if best is None else best + 1
    batches = math.ceil(rows / batch_size_of(settings, rows))
    return max(epochs, min(settings.epochs, math.ceil(FEWEST_STEPS / batches)))


def compiler_options_of(settings: Settings, net: Network, rows: int) -> dict[str, Any] | None:
    """Options of XLA on CPU under which a short training is over sooner, compilation included.

    Seconds to compile, and ms an epoch, by the multiply-adds of a forward pass over all rows
    (jax 0.10.2, two cores):

      rows × Σ_k n_k n_{k−1}     as it is       level 1       level 0
      1.2e6 (iris)              1.5 s, 0.6    1.0 s, 0.7    0.5 s, 1.9
      30e6 (digits)             2.8 s, 5      1.4 s, 4.5    0.6 s, 19

    Level 0 is therefore for what stops early by itself after few epochs.
    """
    work = rows * sum(a * b for a, b in zip(net.sizes[1:], net.sizes[:-1], strict=True))
    if jax.default_backend() != "cpu" or work > AS_IT_IS:
        return None
    quickest = work < QUICKEST and settings.patience > 0
    return {**quick_options(), "xla_backend_optimization_level": 0 if quickest else 1}


# The steps ---------------------------------------------------------------------------------------


def fit_rows(
    setup: Setup,
    places: np.ndarray,
    held_out: np.ndarray,
    *,
    epochs: int,
    checkpoints: Checkpoints | ShardedCheckpoints | None = None,
    resume: bool = False,
    on_epochs: OnEpochs | None = None,
    note: Callable[[str], None] | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Fitted:
    """Prepares the columns by the rows at `places` and fits a network to them.

    Args:
      setup: from `set_up`.
      places: of the rows trained on.
      held_out: of those looked at to stop by; empty: all epochs are run.
      epochs: how many at most.
      checkpoints: where the state is saved, and with `resume` taken up.
      resume: whether to go on from there.
      on_epochs: called with the records of some epochs, the network, the parameters after them,
        and the rows.
      note: called with a line for each column that is left out.
      mesh: of the devices of all processes: each prepares all rows as one would, and trains on its
        own part of them. None: one process.

    Raises:
      TableError: no column is of use, or there are fewer rows than processes.
      ProcessError: as `fit`, and where the rows of the processes are not the same.
      Preempted: after SIGTERM, once the state is saved.
      KeyboardInterrupt: after Ctrl-C, once the state is saved.
      NonFiniteLossError: the loss became NaN or infinite.
    """
    settings = setup.settings
    preparation, notes = prepare(setup, places)
    if note is not None:
        for line in notes:
            note(line)
    rows = rows_at(setup, preparation, places)
    validation = rows_at(setup, preparation, held_out) if len(held_out) else None
    if mesh is not None:
        agree("train", described("rows", (rows, validation)))
    net = network_of(setup, rows.x.shape[1])
    size = batch_size_of(settings, len(places))
    optimizer = make_optimizer(settings, settings.epochs * math.ceil(len(places) / size))
    l2 = l2_of(settings, setup.target, len(places))

    def watch(records: list[dict[str, Any]], params: Any) -> None:
        if on_epochs is not None:
            on_epochs(records, net, params if mesh is None else gathered(params), rows)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="fit: interrupted")
        try:
            x, y, weights = own_part(rows, mesh)
            result = fit(
                net,
                (x, y),
                key=jax.random.key(settings.seed),
                optimizer=optimizer,
                batch_size=size,
                epochs=epochs,
                validation=None if validation is None else own_part(validation, mesh)[:2],
                weights=weights,
                objective=penalized(l2=l2) if l2 else loss,
                patience=settings.patience if validation and settings.patience else None,
                progress=False,
                checkpoints=checkpoints,
                resume=resume,
                on_epochs=watch,
                compiler_options=compiler_options_of(settings, net, len(places)),
                mesh=mesh,
            )
        except UserWarning:
            raise KeyboardInterrupt from None
    params = result.params if mesh is None else gathered(result.params)
    return Fitted(Model(net, params, preparation, {}), rows, result)


# Several processes -------------------------------------------------------------------------------


def own_part(rows: Rows, mesh: jax.sharding.Mesh | None) -> Rows:
    """The rows of this process: process p of P has those from ⌊p N/P⌋ to ⌊(p+1) N/P⌋."""
    if mesh is None:
        return rows
    process, processes, n = jax.process_index(), jax.process_count(), len(rows.x)
    if n < processes:
        raise TableError(f"expected at least a row for each of {processes} processes, got {n}")
    own = slice(process * n // processes, (process + 1) * n // processes)
    return Rows(rows.x[own], rows.y[own], None if rows.weights is None else rows.weights[own])
