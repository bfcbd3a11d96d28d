"""ott-jax."""

from wild_rules import Finding, Rule

P = "ott-jax"
U = "from ott.math import utils as mu"
LOOP = "from ott.math import fixed_point_loop as loop"
ROOT = "from ott.math import matrix_square_root as ms"
SINK = (
    "from ott.geometry import pointcloud; from ott.problems.linear import linear_problem; "
    "from ott.solvers.linear import sinkhorn, implicit_differentiation as implicit\n"
    "r, s = np.random.default_rng(0), np.random.default_rng(0)\n"
    "x, y = r.standard_normal((4, 2)), r.standard_normal((5, 2))\n"
    "u, w = s.standard_normal((4, 2)), s.standard_normal()\n"
    "def potentials(t, **options):\n"
    "    geometry = pointcloud.PointCloud(x + t * u, jnp.asarray(y), epsilon=0.5)\n"
    "    solver = sinkhorn.Sinkhorn(threshold=1e-10, **options)\n"
    "    out = solver(linear_problem.LinearProblem(geometry))\n"
    "    return w * (out.f @ jnp.arange(4.0) + out.g @ jnp.cos(jnp.arange(5.0)))"
)
A = "jnp.array([[2.0, 0.5], [0.5, 1.0]])"
UTILS = "ott/math/utils.py"
FIXPOINT = (
    "lambda a, n: loop.fixpoint_iter_backprop(lambda i, c, s: True,"
    " lambda i, c, s, e: jnp.cos(c * s) + 0.1 * s, n, 4, 1, a, 0.3)"
)
STEP = "(lambda s: jnp.cos(a * s) + 0.1 * s)"
FOUR_STEPS = f"lambda a: {STEP}({STEP}({STEP}({STEP}(0.3))))"
UNROLLED = (
    "potentials(t, min_iterations={}, max_iterations=20, inner_iterations=1, implicit_diff=None)"
)

RULES = (
    Rule(P, f"{UTILS}:49", U, "mu.norm", ("(jnp.array([3.0, 4.0]),)",), ("(jnp.zeros(4),)",)),
    Rule(
        P,
        f"{UTILS}:132",
        U,
        "mu.logsumexp",
        ("(jnp.array([0.3, 1.0, -1.0]),)",),
        ("(jnp.zeros(3),)",),
    ),
    Rule(P, f"{UTILS}:189", U, "mu.softmin", ("(jnp.array([0.3, 1.0, -1.0]), 0.7)",)),
    Rule(P, f"{UTILS}:251", U, "mu.lambertw", ("(jnp.array([0.3, 5.0]),)",), ("(0.0,)",)),
    Rule(
        P,
        "ott/math/fixed_point_loop.py:235",
        LOOP,
        f"lambda a: ({FIXPOINT})(a, 0)",
        ("(0.7,)",),
        (),
        FOUR_STEPS,
    ),
    *(
        Rule(
            P,
            f"ott/math/matrix_square_root.py:{line}",
            ROOT,
            f"lambda t: ms.{name}({A} + t * {A} @ {A}, 1e-14)",
            ("(0.1,)",),
        )
        for line, name in ((236, "sqrtm_only"), (282, "inv_sqrtm_only"))
    ),
    Rule(
        P,
        "ott/math/matrix_square_root.py:26",
        ROOT,
        f"lambda t: ms.sqrtm({A} + t * {A} @ {A}, 1e-14)[:2]",
        ("(0.1,)",),
    ),
    Rule(
        P,
        "ott/geometry/costs.py:430",
        "from ott.geometry import costs, regularizers",
        "costs.RegTICost(regularizers.L1(), lam=0.5).h_legendre",
        ("(jnp.array([1.0, -2.0, 0.1]),)",),
    ),
    Rule(
        P,
        "ott/solvers/linear/sinkhorn.py:1135",
        SINK,
        "lambda t: potentials(t, max_iterations=2000, implicit_diff=implicit.ImplicitDiff())",
        ("(0.1,)",),
    ),
)

FINDINGS = (
    Finding(
        "first",
        P,
        "Sinkhorn(min_iterations = max_iterations, implicit_diff=None)",
        "ott/math/fixed_point_loop.py:235",
        SINK,
        f"jax.grad(lambda t: {UNROLLED.format(20)})(0.0)",
        "-5.74138843",
        f"slope(lambda t: {UNROLLED.format(20)}, 0.0)",
        "differences: -15.435404; the very same iterations with min_iterations=0 give the"
        " right gradient."
        " It is the next finding's rule",
        "",
        (f"lambda t: {UNROLLED.format(20)}", "(0.0,)"),
    ),
    Finding(
        "first",
        P,
        "math.fixed_point_loop.fixpoint_iter_backprop, min_iterations = max_iterations",
        "ott/math/fixed_point_loop.py:235",
        LOOP,
        f"jax.grad({FIXPOINT})(0.7, 4)",
        "-0.06076468",
        f"jax.grad({FIXPOINT})(0.7, 0)",
        "-0.445509, of the same loop with min_iterations=0 and of the four steps written out:"
        " the sweep back"
        " begins"
        " at iteration 0 and not at the last",
        "",
        (f"lambda a: ({FIXPOINT})(a, 4)", "(0.7,)"),
        FOUR_STEPS,
    ),
    Finding(
        "first",
        P,
        "math.utils.softmin by gamma",
        f"{UTILS}:189",
        U,
        "jax.grad(mu.softmin, 1)(jnp.array([1.0, 2.0]), 1.0)",
        "0.0",
        "slope(lambda g: mu.softmin(jnp.array([1.0, 2.0]), g), 1.0)",
        "differences: -0.582203; the rule gives None for gamma, and its docstring does not say so",
        "",
        ("mu.softmin", "(jnp.array([1.0, 2.0]), 1.0)"),
    ),
    Finding(
        "value",
        P,
        "math.utils.norm at 0",
        f"{UTILS}:49",
        U,
        "jax.value_and_grad(mu.norm)(jnp.zeros(4))[0]",
        "2.0",
        "0.0",
        "‖0‖; under differentiation the value is that of a vector of ones",
        "",
        ("mu.norm", "(jnp.zeros(4),)"),
    ),
    Finding(
        "value",
        P,
        "math.utils.logsumexp of −∞ only",
        f"{UTILS}:132",
        U,
        "jax.value_and_grad(mu.logsumexp)(jnp.full(3, -jnp.inf))[0]",
        "0.0",
        "-np.inf",
        "log 0; under differentiation the value is 0",
        "",
        ("mu.logsumexp", "(jnp.full(3, -jnp.inf),)"),
    ),
    Finding(
        "hard",
        P,
        "math.utils.norm(axis=…) with a row of zeros",
        f"{UTILS}:49",
        U,
        "jax.grad(lambda x: mu.norm(x, axis=1).sum())(jnp.array([[3.0, 4.0], [0.0, 0.0]]))[1]",
        "np.array([np.nan, np.nan])",
        "np.zeros(2)",
        "its docstring promises 0 at zero; it looks whether the whole array is zero",
        "",
        ("lambda x: mu.norm(x, axis=1)", "(jnp.array([[3.0, 4.0], [0.0, 0.0]]),)"),
    ),
    Finding(
        "order2",
        P,
        "math.utils.lambertw at 0",
        f"{UTILS}:251",
        U,
        "jax.grad(jax.grad(mu.lambertw))(0.0)",
        "np.nan",
        "-2.0",
        "W(z) = z − z² + …",
        "",
        ("mu.lambertw", "(0.0,)"),
    ),
    Finding(
        "transform",
        P,
        "math.utils.logsumexp(axis=…, keepdims=True)",
        f"{UTILS}:132",
        U,
        "jax.grad(lambda x: mu.logsumexp(x, 1, True).sum())(jnp.ones((2, 2)))",
        "TypeError",
        "np.full((2, 2), 0.5)",
        "softmax; the axis is put in twice, and JAX refuses the shape of the tangent",
        "",
        ("lambda x: mu.logsumexp(x, 1, True)", "(jnp.ones((2, 2)),)"),
    ),
)
