"""jax.nn, jax.numpy and jax.scipy.special."""

from wild_rules import Finding, Rule

S = "from jax.scipy import special"
SPECIAL = "jax/_src/scipy/special.py"
NN = "jax/_src/nn/functions.py"


def _jax(where, call, ordinary, hard=(), plain="", argnums=None, setup=S):
    return Rule("jax", where, setup, call, ordinary, hard, plain, argnums)


def _found(severity, rule, where, line, got, expected, how, known="", check=None, plain=""):
    return Finding(severity, "jax", rule, where, S, line, got, expected, how, known, check, plain)


RULES = (
    _jax(f"{NN}:71", "jax.nn.relu", ("(jnp.array([-2.0, 0.3]),)",), ("(jnp.zeros(2),)",)),
    _jax(
        f"{NN}:780", "jax.nn.relu6", ("(jnp.array([-2.0, 0.3, 7.0]),)",), ("(jnp.array([6.0]),)",)
    ),
    _jax(
        f"{NN}:614",
        "jax.nn.softmax",
        ("(jnp.array([[0.3, -1.0, 2.0]]),)",),
        ("(jnp.array([100.0, -100.0, 100.0]),)",),
        "lambda x: jnp.exp(x - x.max(-1, keepdims=True))"
        " / jnp.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)",
    ),
    _jax(
        f"{NN}:1492",
        "jax.nn.log1mexp",
        ("(jnp.array([0.1, 0.7, 3.0]),)",),
        ("(jnp.array([1e-6, 40.0]),)",),
        "lambda x: jnp.log(-jnp.expm1(-x))",
    ),
    _jax("jax/_src/numpy/lax_numpy.py:6129", "jnp.i0", ("(jnp.array([0.3, -2.0]),)",), ("(0.0,)",)),
    _jax("jax/_src/numpy/ufuncs.py:3064", "lambda x: jnp.frexp(x)[0]", ()),
    _jax(
        "jax/_src/numpy/ufuncs.py:3853",
        "jnp.sinc",
        ("(jnp.array([0.3, -2.2]),)",),
        ("(0.0,)", "(f32(1e-5),)"),
        "lambda x: jnp.sin(jnp.pi * x) / (jnp.pi * x)",
    ),
    _jax(
        "jax/_src/lax/other.py:261",
        "jnp.logaddexp",
        ("(0.3, 1.2)",),
        ("(2.0, 2.0)", "(f32(1e8), f32(1e8))"),
        "lambda a, b: jax.nn.logsumexp(jnp.stack([a, b]), axis=0)",
    ),
    _jax(
        "jax/_src/lax/other.py:293",
        "jnp.logaddexp2",
        ("(0.3, 1.2)",),
        ("(f32(1e8), f32(1e8))",),
        "lambda a, b: jax.nn.logsumexp(jnp.stack([a, b]) * jnp.log(2.0).astype(a.dtype), axis=0)"
        " / jnp.log(2.0).astype(a.dtype)",
    ),
    _jax(f"{SPECIAL}:653", "lambda x, y: special.wofz(x + 1j * y).real", ("(0.3, 0.5)",)),
    _jax(
        f"{SPECIAL}:701",
        "special.erfcx",
        ("(jnp.array([0.3, -1.0, 3.0]),)",),
        ("(f32(1e4),)",),
        "lambda x: jnp.exp(x * x) * special.erfc(x)",
    ),
    _jax(f"{SPECIAL}:834", "special.dawsn", ("(jnp.array([0.3, 4.0, 9.0]),)",), ("(f32(1e4),)",)),
    _jax(
        f"{SPECIAL}:893",
        "special.logit",
        ("(jnp.array([0.1, 0.9]),)",),
        ("(1e-12,)",),
        "lambda x: jnp.log(x) - jnp.log1p(-x)",
    ),
    _jax(
        f"{SPECIAL}:937",
        "special.xlogy",
        ("(1.5, 2.0)",),
        ("(0.0, 2.0)", "(0.0, 0.0)"),
        "lambda x, y: x * jnp.log(y)",
    ),
    _jax(
        f"{SPECIAL}:970",
        "special.xlog1py",
        ("(1.5, 2.0)",),
        ("(0.0, 2.0)",),
        "lambda x, y: x * jnp.log1p(y)",
    ),
    _jax(f"{SPECIAL}:1002", "special.entr", ("(0.3,)",), (), "lambda x: -x * jnp.log(x)"),
    _jax(f"{SPECIAL}:1268", "special.zeta", ("(2.5, 1.3)",), ("(1.1, 2.0)",)),
    _jax(f"{SPECIAL}:1614", "special.log_ndtr", ("(jnp.array([0.3, -3.0]),)",), ("(f32(-1e4),)",)),
    _jax(f"{SPECIAL}:2583", "special.expi", ("(jnp.array([0.5, 2.0, -1.0]),)",)),
    _jax(
        f"{SPECIAL}:2617",
        "lambda x: special.sici(x)[0]",
        ("(jnp.array([0.3, 7.0]),)",),
        ("(0.0,)",),
    ),
    _jax(f"{SPECIAL}:2952", "lambda x: special.expn(2, x)", ("(jnp.array([0.5, 2.0]),)",)),
    _jax(
        f"{SPECIAL}:3164",
        "special.poch",
        ("(1.5, 2.3)",),
        ("(0.0, 1.0)",),
        "lambda z, m: jnp.exp(special.gammaln(z + m) - special.gammaln(z))",
    ),
    _jax(f"{SPECIAL}:3338", "special.hyp1f1", ("(1.5, 2.5, 0.7)",), ("(0.0, 1.0, 2.0)",)),
    _jax(f"{SPECIAL}:3676", "special.hyp2f1", ("(1.5, 2.5, 3.2, 0.4)",), ("(0.0, 1.0, 2.0, 0.5)",)),
    _jax(f"{SPECIAL}:3775", "special.owens_t", ("(0.5, 0.7)", "(1.0, 2.0)"), ("(0.0, 1.0)",)),
    _jax(
        "jax/_src/third_party/scipy/special.py:51",
        "lambda x: special.fresnel(x)[1]",
        ("(jnp.array([0.3, 2.2]),)",),
        ("(1.0,)",),
    ),
)

FINDINGS = (
    _found(
        "first",
        "jax.scipy.special.expn, n = 0",
        f"{SPECIAL}:2952",
        "jax.grad(special.expn, 1)(0, 0.5)",
        "np.nan",
        "-np.exp(-0.5) * (1 + 0.5) / 0.25",
        "E₀(x) = e^(−x)/x; the rule asks for E₋₁, which is not implemented",
        check=("lambda x: special.expn(0, x)", "(0.5,)"),
        plain="lambda x: jnp.exp(-x) / x",
    ),
    _found(
        "first",
        "jax.scipy.special.hyp1f1 by a, a = 0",
        f"{SPECIAL}:3338",
        "jax.grad(special.hyp1f1)(0.0, 1.0, 2.0)",
        "0.0",
        "slope(lambda a: special.hyp1f1(a, 1.0, 2.0), 0.0)",
        "Σ_k 2ᵏ/(k·k!) = Ei(2) − γ − ln 2 = 3.683872; also NaN at a = −1, −2, …",
        check=("special.hyp1f1", "(0.0, 1.0, 2.0)"),
    ),
    _found(
        "first",
        "jax.scipy.special.hyp2f1 by a, a = 0",
        f"{SPECIAL}:3676",
        "jax.grad(special.hyp2f1)(0.0, 1.0, 2.0, 0.5)",
        "0.0",
        "1 - np.log(2)",
        "Σ_k xᵏ/(k(k+1)) at x = ½; also NaN at a = −1, −2, …, and the same by b",
        check=("special.hyp2f1", "(0.0, 1.0, 2.0, 0.5)"),
    ),
    _found(
        "hard",
        "jax.numpy.logaddexp of large equal numbers",
        "jax/_src/lax/other.py:261",
        "jax.grad(jnp.logaddexp, (0, 1))(f32(1e8), f32(1e8))",
        "(1.0, 1.0)",
        "(0.5, 0.5)",
        "symmetry; the two add up to 1. exp(x₁ − out) sees the rounding of out: in float32 0.02"
        " % off"
        " at 1e4, 100 % at 1e8 (jax.nn.logsumexp is right there). jnp.logaddexp2 is alike",
        check=("jnp.logaddexp", "(f32(1e8), f32(1e8))"),
        plain="lambda a, b: jax.nn.logsumexp(jnp.stack([a, b]), axis=0)",
    ),
    _found(
        "hard",
        "jax.scipy.special.xlogy by y at (0, 0)",
        f"{SPECIAL}:937",
        "jax.grad(special.xlogy, 1)(0.0, 0.0)",
        "np.nan",
        "0.0",
        "xlogy(0, y) = 0 for every y ≥ 0, and the docstring promises a derivative at this point;"
        " xlog1py by y at (0, −1) is alike",
        "related: jax#15709",
        ("lambda y: special.xlogy(0.0, y)", "(0.0,)"),
    ),
    _found(
        "hard",
        "jax.scipy.special.poch by z at z = 0, −1, …",
        f"{SPECIAL}:3164",
        "jax.grad(special.poch)(0.0, 1.0)",
        "np.nan",
        "1.0",
        "poch(z, 1) = z",
        check=("lambda z: special.poch(z, 1.0)", "(0.0,)"),
        plain="lambda z: z",
    ),
    _found(
        "hard",
        "jax.numpy.sinc near 0",
        "jax/_src/numpy/ufuncs.py:3853",
        "jax.grad(jnp.sinc)(f32(1e-5))",
        "-0.006135923",
        "-np.pi**2 / 3 * 1e-5",
        "series; −∞ at 1e-23. The rule covers 0 itself and nothing near it",
        "jax#34139, jax#40629, jax#5094",
        ("jnp.sinc", "(f32(1e-5),)"),
    ),
    _found(
        "order2",
        "jax.scipy.special.fresnel, C″ at odd integers",
        "jax/_src/third_party/scipy/special.py:51",
        "jax.grad(jax.grad(lambda x: special.fresnel(x)[1]))(1.0)",
        "0.0",
        "-np.pi",
        "C″(x) = −πx sin(πx²/2); the cosine in the rule is a constant 0 where it ought to cross 0",
        check=("lambda x: special.fresnel(x)[1]", "(1.0,)"),
    ),
    _found(
        "order2",
        "jax.numpy.i0 at 0",
        "jax/_src/numpy/lax_numpy.py:6129",
        "jax.grad(jax.grad(jnp.i0))(0.0)",
        "0.0",
        "0.5",
        "I₀(x) = 1 + x²/4 + …",
        "jax#40640 (mended after 0.10.2)",
        ("jnp.i0", "(0.0,)"),
    ),
    _found(
        "order2",
        "jax.scipy.special.exp1 and expn, any second derivative",
        f"{SPECIAL}:2952",
        "jax.grad(jax.grad(special.exp1))(0.5)",
        "TypeError",
        "np.exp(-0.5) * 1.5 / 0.25",
        "E₁″(x) = e^(−x)(1 + x)/x²; the order n is in nondiff_argnums, and under a jit that is a"
        " tracer",
        "related: jax#20889",
        ("special.exp1", "(0.5,)"),
    ),
    _found(
        "transform",
        "jax.scipy.special.xlogy with an integer",
        f"{SPECIAL}:937",
        "jax.grad(special.xlogy, 1)(2, 3.0)",
        "TypeError",
        "2 / 3",
        "2/y; a float0 tangent reaches the rule, for it promotes its arguments inside."
        " Also xlog1py, poch, hyp1f1, hyp2f1",
        check=("special.xlogy", "(2, 3.0)"),
    ),
    _found(
        "imprecise",
        "jax.scipy.special.log_ndtr, float32, x < −100",
        f"{SPECIAL}:1614",
        "jax.grad(special.log_ndtr)(f32(-1e4))",
        "2980.958",
        "1e4 + 1e-4",
        "−x − 1/x + …; exp(−x²/2 − value) cancels: off by 70 % here, 0.03 % at −100, in float64"
        " 34 % at −1e8",
        "related: jax#25564",
        ("special.log_ndtr", "(f32(-1e4),)"),
    ),
    _found(
        "imprecise",
        "jax.scipy.special.erfcx, float32, x > 100",
        f"{SPECIAL}:701",
        "jax.grad(special.erfcx)(f32(1e4))",
        "-1.1920929e-07",
        "-1 / (np.sqrt(np.pi) * 1e8)",
        "leading term; 2x·erfcx(x) − 2/√π cancels",
        check=("special.erfcx", "(f32(1e4),)"),
    ),
    _found(
        "imprecise",
        "jax.scipy.special.dawsn, float32, x > 100",
        f"{SPECIAL}:834",
        "jax.grad(special.dawsn)(f32(1e4))",
        "0.0",
        "-1 / 2e8",
        "leading term; 1 − 2x·dawsn(x) cancels",
        check=("special.dawsn", "(f32(1e4),)"),
    ),
    _found(
        "imprecise",
        "jax.scipy.special.wofz, complex64, |z| > 100",
        f"{SPECIAL}:653",
        "jax.jvp(special.wofz, (c64(1e3 + 1j),), (c64(1),))[1].imag",
        "-4.7683716e-07",
        "-1e-6 / np.sqrt(np.pi)",
        "leading term of −i/(√π z²); −2z·w(z) + 2i/√π cancels. In complex128 at 1e4 four digits"
        " are right",
    ),
)
