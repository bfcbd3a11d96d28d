"""The strongest paths of a layered graph, exactly.

In a graph whose edges lead from each layer to the next only, the strength of a path is the product
of |e| over its edges, and of what its last node weighs. Let B(m) be the list of the k strongest
paths from node m to the end. Those from a node m′ one layer below are the k best of

  |e(m, m′)| · b,   m any node above, b in B(m)

so one pass from the end down gives them, without walking through all paths and without chance.
Products become sums of logarithms: no product is too small to be compared, and one with a 0 in it,
log 0 = −∞, comes last. Paths that are equally strong come in the order of their nodes.

It is the algorithm elim-m-opt of Rollon, Flerova and Dechter 2011, "Inference schemes for M best
solutions for soft CSPs", on a chain.
"""

from collections.abc import Sequence

import numpy as np


def strongest_paths(
    edges: Sequence[np.ndarray], ends: np.ndarray, count: int
) -> list[tuple[int, ...]]:
    """The strongest paths from a single first node, strongest first.

    Args:
      edges: one array for each step, from the first; entry [m, m′] of one of shape (n_{t+1}, n_t)
        leads from node m′ to node m, and the first layer has one node.
      ends: what each node of the last layer weighs, (n_T,).
      count: how many paths to find, at least 1; fewer come where there are fewer.

    Returns:
      The nodes of each path, from the first layer to the last, counted from 0. The work is
      Σ_t n_t n_{t+1} log n_{t+1} for small counts.
    """
    best = _log(ends)[None]
    steps = []
    for edge in reversed(edges):
        best, nodes, ranks = _one_layer_down(_log(edge), best, count)
        steps.append((nodes, ranks))
    return [_walk(steps[::-1], rank) for rank in range(best.shape[0])]


def _log(weights: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.abs(weights))


def _one_layer_down(
    edge: np.ndarray, best: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, nodes, ranks) of the nodes below: their best sums, and where each goes next.

    Args:
      edge: logarithms, (n above, n below).
      best: sums of the nodes above, (at most count, n above), the largest first.
      count: how many to keep.

    The best of a node go through those `count` nodes above whose own best are largest; and the
    q-th best of the s-th of these is one of them only if s + q < count (both from 0).
    """
    order = np.argsort(-(edge + best[0][:, None]), axis=0, kind="stable")[:count]
    s, q = np.indices((order.shape[0], best.shape[0])).reshape(2, -1)
    s, q = s[s + q < count], q[s + q < count]
    nodes = order[s]  # (candidates, n below)
    sums = np.take_along_axis(edge, nodes, axis=0) + best[q[:, None], nodes]
    ranks = np.broadcast_to(q[:, None], nodes.shape)
    chosen = np.lexsort((ranks, nodes, -sums), axis=0)[:count]
    return (
        np.take_along_axis(sums, chosen, axis=0),
        np.take_along_axis(nodes, chosen, axis=0),
        np.take_along_axis(ranks, chosen, axis=0),
    )


def _walk(steps: list[tuple[np.ndarray, np.ndarray]], rank: int) -> tuple[int, ...]:
    """The nodes of the path of that rank from the first node."""
    path = [0]
    for nodes, ranks in steps:
        node = path[-1]
        path.append(int(nodes[rank, node]))
        rank = int(ranks[rank, node])
    return tuple(path)
