"""numpyro, distrax and distreqx."""

from wild_rules import Finding, Rule

POWER_LAW = (
    "from functools import partial; from numpyro.distributions import DoublyTruncatedPowerLaw; "
    "PowerLaw = partial(DoublyTruncatedPowerLaw, validate_args=False)"
)
TRUNCATED = "numpyro/distributions/truncated.py"
DX = "from distrax._src.utils import math as dm; import distrax"
DQ = "from distreqx.utils import math as dq"
DX_MATH = "distrax/_src/utils/math.py"
DX_VM = "distrax/_src/distributions/von_mises.py"
DQ_MATH = "distreqx/utils/math.py"
POINTS = ("(1.5, -2.0, 1.0, 3.0)", "(2.0, 0.5, 1.0, 3.0)", "(1.2, -1.0, 1.0, 3.0)")


def _power_law(name):
    return f"lambda x, a, low, high: PowerLaw(a, low, high).{name}(x)"


RULES = (
    Rule("numpyro", f"{TRUNCATED}:1216", POWER_LAW, _power_law("log_prob"), POINTS),
    Rule(
        "numpyro",
        f"{TRUNCATED}:1337",
        POWER_LAW,
        _power_law("cdf"),
        POINTS,
        ("(0.5, -2.0, 1.0, 3.0)",),
    ),
    Rule(
        "numpyro",
        f"{TRUNCATED}:1475",
        POWER_LAW,
        _power_law("icdf"),
        ("(0.3, -2.0, 1.0, 3.0)", "(0.3, -1.0, 1.0, 3.0)"),
    ),
    Rule(
        "numpyro",
        "numpyro/distributions/util.py:476",
        "from numpyro.distributions.util import log1mexp",
        "log1mexp",
        ("(jnp.array([-0.1, -0.7, -5.0]),)",),
        ("(jnp.array([-1e-8, -50.0]),)",),
    ),
    Rule("distrax", f"{DX_MATH}:28", DX, "dm.multiply_no_nan", ("(1.5, 2.0)",), ("(0.0, 0.0)",)),
    Rule(
        "distrax",
        f"{DX_MATH}:81",
        DX,
        "dm.power_no_nan",
        ("(1.5, 2.0)",),
        ("(0.0, 2.0)", "(-2.0, 3.0)"),
    ),
    Rule(
        "distrax",
        f"{DX_VM}:310",
        DX,
        "lambda x, c: distrax.VonMises(0.0, c).cdf(x)",
        ("(0.5, 1.0)", "(4.0, 2.0)"),
        ("(0.5, 1e-3)",),
    ),
    Rule(
        "distrax",
        f"{DX_VM}:218",
        DX,
        "lambda c: distrax.VonMises(0.0, c).sample(seed=jax.random.PRNGKey(0), sample_shape=(4,))",
        ("(1.5,)",),
        deliberate="implicit reparameterization: right for expectations, held against −∂F/p",
    ),
    Rule("distreqx", f"{DQ_MATH}:10", DQ, "dq.multiply_no_nan", ("(1.5, 2.0)",), ("(0.0, 0.0)",)),
    Rule(
        "distreqx",
        f"{DQ_MATH}:56",
        DQ,
        "dq.power_no_nan",
        ("(1.5, 2.0)",),
        ("(0.0, 2.0)", "(-2.0, 3.0)"),
    ),
)

KNOWN = "in a downstream project: kokabsc/gwkokab#565"

FINDINGS = (
    Finding(
        "first",
        "numpyro",
        "DoublyTruncatedPowerLaw.log_prob by low and by high",
        f"{TRUNCATED}:1216",
        POWER_LAW,
        "jax.grad(lambda low: PowerLaw(0.5, low, 3.0).log_prob(2.0))(1.0)",
        "0.18071533",
        "slope(lambda low: PowerLaw(0.5, low, 3.0).log_prob(2.0), 1.0)",
        "differences: 0.357470; the rule has the derivative of the density, not of its"
        " logarithm. By high it"
        " also lacks the minus: 0.313 against −0.619. At α = −1 both are alike",
        KNOWN,
        (_power_law("log_prob"), "(2.0, 0.5, 1.0, 3.0)"),
    ),
    Finding(
        "first",
        "numpyro",
        "DoublyTruncatedPowerLaw.cdf by high, α = −1",
        f"{TRUNCATED}:1337",
        POWER_LAW,
        "jax.grad(lambda high: PowerLaw(-1.0, 1.0, high).cdf(1.2))(3.0)",
        "0.05035329",
        "-np.log(1.2) / (3 * np.log(3) ** 2)",
        "cdf = log(x/low)/log(high/low): a minus is missing",
        "",
        (_power_law("cdf"), "(1.2, -1.0, 1.0, 3.0)"),
    ),
    Finding(
        "hard",
        "numpyro",
        "DoublyTruncatedPowerLaw.cdf outside the support",
        f"{TRUNCATED}:1337",
        POWER_LAW,
        "jax.grad(lambda x: PowerLaw(-2.0, 1.0, 3.0).cdf(x))(0.5)",
        "6.0",
        "0.0",
        "the value is clipped to 0 there, and to 1 above; the gradient by all four arguments is"
        " not",
        "",
        (_power_law("cdf"), "(0.5, -2.0, 1.0, 3.0)"),
    ),
    Finding(
        "hard",
        "distrax",
        "utils.math.power_no_nan, forward mode at a base ≤ 0",
        f"{DX_MATH}:81",
        DX,
        "jax.jvp(lambda x: dm.power_no_nan(x, 3.0), (-2.0,), (1.0,))[1]",
        "np.nan",
        "12.0",
        "3x²; log(x) times the zero tangent of the exponent. Reverse mode by x is right. By y at"
        " x = 0 both are NaN. distreqx has the same rule",
        "",
        ("lambda x: dm.power_no_nan(x, 3.0)", "(-2.0,)"),
    ),
    Finding(
        "hard",
        "distreqx",
        "utils.math.power_no_nan, forward mode at a base ≤ 0",
        f"{DQ_MATH}:56",
        DQ,
        "jax.jvp(lambda x: dq.power_no_nan(x, 3.0), (-2.0,), (1.0,))[1]",
        "np.nan",
        "12.0",
        "as in distrax",
        "",
        ("lambda x: dq.power_no_nan(x, 3.0)", "(-2.0,)"),
    ),
    Finding(
        "hard",
        "distrax",
        "VonMises.cdf by concentration at 0",
        f"{DX_VM}:310",
        DX,
        "jax.grad(lambda c: distrax.VonMises(0.0, c).cdf(jnp.float64(1)))(jnp.float64(0))",
        "np.nan",
        "np.sin(1) / (2 * np.pi)",
        "p = (1 + c cos x + …)/2π; the value is right",
        "",
        ("lambda c: distrax.VonMises(0.0, c).cdf(jnp.float64(1))", "(jnp.float64(0),)"),
    ),
    Finding(
        "transform",
        "distrax",
        "utils.math.power_no_nan with an integer exponent",
        f"{DX_MATH}:81",
        DX,
        "jax.grad(dm.power_no_nan)(2.0, 3)",
        "TypeError",
        "12.0",
        "3x²; a float0 tangent reaches the rule",
        "",
        ("dm.power_no_nan", "(2.0, 3)"),
    ),
    Finding(
        "transform",
        "distreqx",
        "utils.math.multiply_no_nan with an integer",
        f"{DQ_MATH}:10",
        DQ,
        "jax.grad(dq.multiply_no_nan)(2.0, 3)",
        "UFuncTypeError",
        "3.0",
        "y; power_no_nan is alike",
        "",
        ("dq.multiply_no_nan", "(2.0, 3)"),
    ),
    Finding(
        "imprecise",
        "numpyro",
        "DoublyTruncatedPowerLaw by α, float32, α = −1",
        f"{TRUNCATED}:1216",
        POWER_LAW,
        "jax.grad(lambda a: PowerLaw(a, f32(1), f32(3)).log_prob(f32(1.2)))(f32(-1))",
        "-0.37639421",
        "np.log(1.2) - np.log(3) / 2",
        "closed form; the mean of two quotients of cancelling powers, 1e-3 to either side."
        " 2.6 % here, 11 % for cdf, 9 % for icdf",
        "",
        (
            "lambda a: PowerLaw(a, f32(1), f32(3)).log_prob(f32(1.2))",
            "(f32(-1),)",
        ),
    ),
)
