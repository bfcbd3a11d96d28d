"""optax, jaxopt, qpax, jaxnnls, lineax, optimistix, diffrax, quadax, kfac-jax."""

from wild_rules import Finding, Rule

OX = "import optax"
JO = "from jaxopt import isotonic, projection"
QP = (
    "import warnings; warnings.simplefilter('ignore')\n"
    "from qpax.explicit.diff_qp import solve_qp_primal as solve_qp\n"
    "r, s = np.random.default_rng(0), np.random.default_rng(0)\n"
    "a, q = r.standard_normal((3, 3)), r.standard_normal(3) * 3\n"
    "G, h = r.standard_normal((4, 3)), abs(r.standard_normal(4)) * 0.3\n"
    "u, w = s.standard_normal((4, 3)), s.standard_normal(3)\n"
    "def qp(G):\n"
    "    Q, none = a @ a.T + 3 * np.eye(3), (np.zeros((0, 3)), np.zeros(0))\n"
    "    return w @ solve_qp(Q, q, *none, G, h, 1e-10, 1e-8, 50)"
)
SIMPLEX = "optax/projections/_projections.py:93"
WEIGHTED = "optax/losses/_classification.py:156"
ISOTONIC = "jaxopt/_src/isotonic.py:91"
LOGITS = "jnp.array([[0.3, 1.0, -1.0], [0.0, 2.0, 0.5]])"
LABELS = "jnp.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])"
CE = "optax.safe_softmax_cross_entropy"
X6 = "jnp.array([0.3, 0.9, -0.4, 1.2, 0.1, 0.7])"

RULES = (
    Rule(
        "optax", SIMPLEX, OX, "optax.projections.projection_simplex", (f"({X6},)", f"(9.0 * {X6},)")
    ),
    Rule("optax", WEIGHTED, OX, CE, (f"({LOGITS}, {LABELS})",)),
    Rule(
        "optax",
        "optax/_src/utils.py:159",
        OX,
        "lambda x: optax.scale_gradient(x, 0.5)",
        ("(jnp.array([1.0, 2.0]),)",),
        deliberate="scales the gradient",
    ),
    Rule(
        "jaxopt",
        "jaxopt/_src/projection.py:95",
        JO,
        "projection.projection_simplex",
        (f"({X6}, 1.5)",),
    ),
    Rule(
        "jaxopt",
        "jaxopt/_src/projection.py:140",
        JO,
        "lambda x: projection.projection_sparse_simplex(x, 3)",
        (f"({X6},)",),
    ),
    Rule("jaxopt", ISOTONIC, JO, "isotonic.isotonic_l2_pav", (f"({X6},)",), (f"(1e-9 * {X6},)",)),
    Rule(
        "jaxopt",
        "jaxopt/_src/implicit_diff.py:204",
        "import jaxopt",
        "lambda a: jaxopt.GradientDescent(lambda x, a: jnp.sum((x - a) ** 2 + 0.1 * x**4),"
        " maxiter=500, tol=1e-12).run(jnp.zeros(2), a).params",
        ("(jnp.array([1.0, -0.5]),)",),
    ),
    Rule("qpax", "qpax/explicit/diff_qp.py:58", QP, "qp", ("(jnp.asarray(G),)",)),
    Rule(
        "jaxnnls",
        "jaxnnls/diff_qp.py:36",
        "from jaxnnls.diff_qp import solve_nnls_primal as nnls",
        "lambda q: nnls(jnp.array([[2.0, 0.3], [0.3, 1.0]]), q, 1e-8)",
        ("(jnp.array([1.0, 0.5]),)",),
    ),
    Rule(
        "lineax",
        "lineax/_norm.py:70",
        "from lineax.internal import two_norm",
        "two_norm",
        ("(jnp.array([3.0, -4.0]),)",),
        ("(jnp.zeros(3),)",),
    ),
    Rule(
        "lineax",
        "lineax/_norm.py:142",
        "from lineax.internal import max_norm",
        "max_norm",
        ("(jnp.array([3.0, -4.0]),)",),
    ),
    Rule(
        "lineax",
        "lineax/_solve.py",
        "import lineax",
        "lambda a, b: lineax.linear_solve(lineax.MatrixLinearOperator(a), b).value",
        ("(jnp.array([[2.0, 0.3], [0.1, 1.5]]), jnp.array([1.0, 2.0]))",),
    ),
    Rule(
        "optimistix",
        "optimistix/_ad.py:64",
        "import optimistix",
        "lambda a: optimistix.root_find(lambda y, a: y**3 + y - a,"
        " optimistix.Newton(1e-12, 1e-12), jnp.array(0.5), a).value",
        ("(1.7,)",),
    ),
    Rule(
        "diffrax",
        "diffrax/_adjoint.py:538",
        "import diffrax",
        "lambda y, k: diffrax.diffeqsolve(diffrax.ODETerm(lambda t, y, k: -k * y), diffrax.Tsit5(),"
        " 0.0, 1.0, 0.01, y, k, adjoint=diffrax.BacksolveAdjoint()).ys[0]",
        ("(1.0, 2.0)",),
    ),
    Rule(
        "quadax",
        "quadax/_adjoint.py:762",
        "import quadax",
        "lambda a: quadax.quadgk(lambda x, a: jnp.exp(-a * x), [0.0, 1.0], args=(a,))[0]",
        ("(0.7,)",),
    ),
    Rule(
        "kfac-jax",
        "kfac_jax/_src/utils/math.py:1181",
        "from kfac_jax._src.utils.math import stable_sqrt",
        "stable_sqrt",
        ("(jnp.array([0.3, 5.0]),)",),
    ),
)

FINDINGS = (
    Finding(
        "first",
        "qpax",
        "qpax.explicit solve_qp_primal by G",
        "qpax/explicit/diff_qp.py:58",
        QP,
        "jax.grad(lambda t: qp(G + t * u))(0.0)",
        "-0.55990815",
        "slope(lambda t: qp(G + t * u), 0.0)",
        "differences: -0.269107; one of two terms is multiplied by λ twice (so in the OptNet"
        " paper)",
        "qpax#21",
        ("qp", "(jnp.asarray(G),)"),
    ),
    Finding(
        "hard",
        "optax",
        "safe_softmax_cross_entropy, forward mode, a logit −∞ of label 0",
        WEIGHTED,
        OX,
        f"jax.jvp(lambda x: {CE}(x, jnp.array([1.0, 0.0])),"
        " (jnp.array([0.0, -jnp.inf]),), (jnp.array([1.0, 0.0]),))[1]",
        "np.nan",
        "0.0",
        "the case that it is there for; 0 · log 0 with the zero tangent of the weights. Reverse"
        " mode is"
        " right",
        "optax#1762",
        (
            f"lambda x: {CE}(jnp.stack([x, -jnp.inf]), jnp.array([1.0, 0.0]))",
            "(0.0,)",
        ),
    ),
    Finding(
        "hard",
        "jaxopt",
        "isotonic_l2_pav of small numbers",
        ISOTONIC,
        JO,
        "jax.grad(lambda y: isotonic.isotonic_l2_pav(y)[0])(jnp.array([1.0, 2.0, 3.0]) * 1e-9)",
        "np.full(3, 1 / 3)",
        "np.array([1.0, 0.0, 0.0])",
        "sorted input is its own solution; blocks are told apart by an absolute 1e-8",
        "",
        ("isotonic.isotonic_l2_pav", "(jnp.array([1.0, 2.0, 3.0]) * 1e-9,)"),
    ),
    Finding(
        "transform",
        "optax",
        "safe_softmax_cross_entropy with integer labels",
        WEIGHTED,
        OX,
        f"jax.grad(lambda x: {CE}(x, jnp.array([1, 0])))(jnp.array([0.0, 1.0]))",
        "TypeError",
        "np.array([1 / (1 + np.exp(-1.0)) * -1, 1 / (1 + np.exp(-1.0))])",
        "softmax − labels; a float0 tangent reaches the rule",
        "",
        (f"lambda x: {CE}(x, jnp.array([1, 0]))", "(jnp.array([0.0, 1.0]),)"),
    ),
    Finding(
        "transform",
        "optax",
        "projection_simplex, float32 where 64-bit types are on",
        SIMPLEX,
        OX,
        "jax.grad(lambda x: optax.projections.projection_simplex(x)[0])"
        "(jnp.array([0.3, 0.2, 0.9], f32))",
        "TypeError",
        "np.array([2 / 3, -1 / 3, -1 / 3])",
        "closed form (all three in the support); the value becomes float64, the tangent does not",
        "",
        ("optax.projections.projection_simplex", "(jnp.array([0.3, 0.2, 0.9], f32),)"),
    ),
    Finding(
        "transform",
        "jaxopt",
        "isotonic_l2_pav, projection_sparse_simplex, float32 where 64-bit types are on",
        ISOTONIC,
        JO,
        "jax.grad(lambda y: isotonic.isotonic_l2_pav(y)[0])(jnp.array([1.0, 2.0, 3.0], f32))",
        "TypeError",
        "np.array([1.0, 0.0, 0.0])",
        "as above; the tangent becomes float64",
        "",
        ("isotonic.isotonic_l2_pav", "(jnp.array([1.0, 2.0, 3.0], f32),)"),
    ),
)
