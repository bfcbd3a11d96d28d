"""tensorflow_probability.substrates.jax, from the nightly that runs on this jax."""

from wild_rules import Finding, Rule

P = "tfp-nightly"
HERE = "tensorflow_probability/substrates/jax"
S = (
    "import tensorflow_probability.substrates.jax as tfp; tm = tfp.math; td = tfp.distributions; "
    "tk = tfp.math.psd_kernels; "
    "from tensorflow_probability.substrates.jax.math import special as ts, linalg as tl, "
    "hypergeometric as th; "
    "from tensorflow_probability.substrates.jax.math.psd_kernels.internal import util as ku"
)
A = "jnp.array([[2.0, 0.3, 0.1], [0.3, 1.5, 0.2], [0.1, 0.2, 1.0]])"
B = "jnp.array([[1.0, 0.2], [0.3, -1.0], [0.5, 0.4]])"
MATERN = "tk.{}(jnp.float64(1.0), jnp.float64(1.0)).apply(x[None], y[None])"
BY_Z = "no gradient by the order: zero, as a comment in its code says"


def _tfp(where, call, ordinary, hard=(), argnums=None, deliberate=""):
    return Rule(P, f"{HERE}/{where}", S, call, ordinary, hard, "", argnums, deliberate)


def _found(severity, rule, where, line, got, expected, how, known="", check=None):
    return Finding(severity, P, rule, f"{HERE}/{where}", S, line, got, expected, how, known, check)


RULES = (
    _tfp(
        "math/bessel.py:340",
        "tm.bessel_iv_ratio",
        ("(1.5, 2.0)", "(3.0, 0.5)"),
        ("(1.0, 0.0)",),
        (1,),
    ),
    _tfp(
        "math/bessel.py:983", "tm.bessel_ive", ("(1.5, 2.0)", "(1.0, -2.0)"), ("(1.0, 0.0)",), (1,)
    ),
    _tfp("math/bessel.py:1097", "tm.bessel_kve", ("(1.5, 2.0)", "(0.0, 0.3)"), (), (1,)),
    _tfp("math/bessel.py:1184", "tm.log_bessel_ive", ("(1.5, 2.0)",), ("(0.0, 0.0)",), (1,)),
    _tfp("math/bessel.py:1286", "tm.log_bessel_kve", ("(1.5, 2.0)", "(60.0, 10.0)"), (), (1,)),
    _tfp("math/generic.py:766", "tm.log_cosh", ("(jnp.array([0.3, -2.0, 20.0]),)",), ("(0.0,)",)),
    _tfp(
        "math/hypergeometric.py:523",
        "th.hyp2f1_small_argument",
        ("(1.0, 2.0, 3.0, 0.5)",),
        (),
        (3,),
    ),
    _tfp(
        "math/special.py:517",
        "tm.betainc",
        ("(2.0, 3.0, 0.4)", "(50.0, 40.0, 0.5)"),
        ("(2.0, 1.0, 1.0)",),
    ),
    _tfp("math/special.py:838", "ts.betaincinv", ("(2.0, 3.0, 0.4)",)),
    _tfp("math/special.py:996", "ts.dawsn", ("(jnp.array([0.3, 4.0, 9.0]),)",), ("(f32(1e4),)",)),
    _tfp("math/special.py:1137", "tm.erfcx", ("(jnp.array([0.3, -1.0, 9.0]),)",), ("(f32(1e4),)",)),
    _tfp("math/special.py:1540", "ts.igammainv", ("(2.0, 0.5)",)),
    _tfp("math/special.py:1606", "ts.igammacinv", ("(2.0, 0.3)",)),
    _tfp("math/special.py:1812", "tm.lambertw", ("(jnp.array([0.3, 5.0]),)",), ("(0.0,)",)),
    _tfp(
        "math/special.py:1978",
        "tm.log_gamma_difference",
        ("(0.5, 10.0)",),
        ("(f32(1e-3), f32(1e6))",),
    ),
    _tfp("math/special.py:2082", "tm.lbeta", ("(0.5, 2.0)", "(10.0, 20.0)")),
    _tfp("math/special.py:2579", "tm.owens_t", ("(0.5, 0.7)", "(1.0, 2.0)"), ("(0.0, 1.0)",)),
    _tfp("math/linalg.py:1262", f"lambda t: tl.hpsd_logdet({A} + t * jnp.eye(3))", ("(0.1,)",)),
    _tfp(
        "math/linalg.py:1339",
        f"lambda t, b: tl.hpsd_solve({A} + t * jnp.eye(3), b)",
        (f"(0.1, {B})",),
    ),
    _tfp(
        "math/linalg.py:1445",
        f"lambda t, b: tl.hpsd_quadratic_form_solve({A} + t * jnp.eye(3), b)",
        (f"(0.1, {B})",),
    ),
    _tfp(
        "math/linalg.py:1517",
        f"lambda t, b: tl.hpsd_quadratic_form_solvevec({A} + t * jnp.eye(3), b)",
        (f"(0.1, {B}[:, 0])",),
    ),
    _tfp(
        "math/psd_kernels/internal/util.py:106",
        "ku.sqrt_with_finite_grads",
        ("(jnp.float64(0.3),)",),
    ),
    _tfp(
        "bijectors/softplus.py:40",
        "tfp.bijectors.Softplus().forward",
        ("(jnp.array([0.3, -2.0]),)",),
    ),
    _tfp(
        "bijectors/sigmoid.py:46", "tfp.bijectors.Sigmoid().forward_log_det_jacobian", ("(0.3,)",)
    ),
    _tfp(
        "distributions/student_t.py:435",
        "lambda df, x: td.StudentT(df, jnp.float64(0), jnp.float64(1)).cdf(x)",
        ("(3.0, 0.7)",),
        ("(3.0, 0.0)",),
    ),
    _tfp(
        "distributions/student_t.py:717",
        "lambda df, p: td.StudentT(df, jnp.float64(0), jnp.float64(1)).quantile(p)",
        ("(3.0, 0.8)",),
        ("(3.0, 0.5)",),
    ),
    _tfp(
        "distributions/noncentral_chi2.py:324",
        "lambda x, df, nc: td.NoncentralChi2(df, nc).cdf(x)",
        ("(3.0, 2.0, 1.0)",),
    ),
    _tfp(
        "distributions/noncentral_chi2.py:416",
        "lambda p, df, nc: td.NoncentralChi2(df, nc).quantile(p)",
        ("(0.4, 2.0, 1.0)",),
    ),
    _tfp(
        "distributions/von_mises.py:344",
        "lambda x, c: td.VonMises(jnp.float64(0), c).cdf(x)",
        ("(0.5, 1.0)", "(4.0, 2.0)"),
    ),
    *(
        _tfp(
            f"distributions/{where}",
            f"lambda a: td.{maker}.sample(4, seed=jax.random.key(0))",
            ("(1.5,)",),
            deliberate="implicit reparameterization: right for expectations, held against −∂F/p",
        )
        for where, maker in (
            ("gamma.py:680", "Gamma(a, jnp.float64(1))"),
            ("inverse_gaussian.py:344", "InverseGaussian(a, jnp.float64(2))"),
            ("two_piece_normal.py:618", "TwoPieceNormal(jnp.float64(0), jnp.float64(1), a)"),
            ("von_mises.py:626", "VonMises(jnp.float64(0), a)"),
        )
    ),
)

FINDINGS = (
    _found(
        "first",
        "NoncentralChi2.cdf by df",
        "distributions/noncentral_chi2.py:324",
        "jax.grad(lambda df: td.NoncentralChi2(df, jnp.float64(1)).cdf(jnp.float64(3)))"
        "(jnp.float64(2))",
        "0.0",
        "slope(lambda df: td.NoncentralChi2(df, jnp.float64(1)).cdf(jnp.float64(3)), 2.0)",
        "differences: -0.151830; the rule has no term for it. NoncentralChi2.quantile is zero"
        " by df and by"
        " noncentrality too",
        check=(
            "lambda df: td.NoncentralChi2(df, jnp.float64(1)).cdf(jnp.float64(3))",
            "(jnp.float64(2),)",
        ),
    ),
    _found(
        "hard",
        "math.bessel_ive by z at 0",
        "math/bessel.py:983",
        "jax.grad(tm.bessel_ive, 1)(jnp.float64(1), jnp.float64(0))",
        "np.nan",
        "0.5",
        "I₁(z) = z/2 + …; v/z in the rule. bessel_iv_ratio(1, 0) is alike (½), log_bessel_ive(0,"
        " 0) too",
        check=("lambda z: tm.bessel_ive(jnp.float64(1), z)", "(jnp.float64(0),)"),
    ),
    _found(
        "hard",
        "VonMises.cdf by concentration at 0",
        "distributions/von_mises.py:344",
        "jax.grad(lambda c: td.VonMises(jnp.float64(0), c).cdf(jnp.float64(1)))(jnp.float64(0))",
        "np.nan",
        "np.sin(1) / (2 * np.pi)",
        "p = (1 + c cos x + …)/2π; the value is right",
        check=(
            "lambda c: td.VonMises(jnp.float64(0), c).cdf(jnp.float64(1))",
            "(jnp.float64(0),)",
        ),
    ),
    _found(
        "order2",
        "MaternThreeHalves and MaternFiveHalves, ∂²k/∂x∂y at x = y",
        "math/psd_kernels/internal/util.py:106",
        f"jax.grad(jax.grad(lambda x, y: {MATERN.format('MaternThreeHalves')}), 1)"
        "(jnp.float64(1), jnp.float64(1))",
        "0.0",
        "3.0",
        "k = (1 + √3 r) e^(−√3 r); 5/3 for MaternFiveHalves. It is the variance of the slope of the"
        " process; √ with a gradient of its own at 0 has none of second order",
        check=(
            f"lambda x, y: {MATERN.format('MaternThreeHalves')}",
            "(jnp.float64(1), jnp.float64(1))",
        ),
    ),
    _found(
        "order2",
        "math.special.igammainv, second derivatives with a in them",
        "math/special.py:1540",
        "jax.grad(jax.grad(ts.igammainv), 1)(jnp.float64(2), jnp.float64(0.5))",
        "1.28133720",
        "slope(lambda p: jax.grad(ts.igammainv)(jnp.float64(2), p), 0.5)",
        "differences of its own first derivative, which is right: 0.978051; stop_gradient"
        " inside the rule."
        " By a twice: 0.304 against 0.0075",
        check=("ts.igammainv", "(jnp.float64(2), jnp.float64(0.5))"),
    ),
    _found(
        "order2",
        "math.lambertw at 0",
        "math/special.py:1812",
        "jax.grad(jax.grad(tm.lambertw))(jnp.float64(0))",
        "np.nan",
        "-2.0",
        "W(z) = z − z² + …",
        check=("tm.lambertw", "(jnp.float64(0),)"),
    ),
    _found(
        "transform",
        "math.hypergeometric.hyp2f1_small_argument, arguments of different shapes",
        "math/hypergeometric.py:523",
        "jax.grad(lambda z: th.hyp2f1_small_argument("
        "jnp.array([1.0, 1.5]), 2.0, 3.0, z).sum())(jnp.float64(0.5))",
        "TracerIntegerConversionError",
        "slope(lambda z: th.hyp2f1_small_argument(jnp.array([1.0, 1.5]), 2.0, 3.0, z).sum(), 0.5)",
        "differences: the value broadcasts",
        check=(
            "lambda z: th.hyp2f1_small_argument(jnp.array([1.0, 1.5]), 2.0, 3.0, z)",
            "(jnp.float64(0.5),)",
        ),
    ),
    _found(
        "imprecise",
        "math.erfcx, float32, x > 100",
        "math/special.py:1137",
        "jax.grad(tm.erfcx)(f32(1e4))",
        "0.0",
        "-1 / (np.sqrt(np.pi) * 1e8)",
        "leading term; logerfcx gives 0 for −1e-4 with it, dawsn 0 for −5e-9",
        check=("tm.erfcx", "(f32(1e4),)"),
    ),
    _found(
        "imprecise",
        "math.log_gamma_difference, float32, y ≫ x",
        "math/special.py:1978",
        "jax.grad(tm.log_gamma_difference, 1)(f32(1e-3), f32(1e6))",
        "0.0",
        "-1e-9",
        "digamma(y) − digamma(x + y) ≈ −x/y; the code says that it does not try",
        check=("tm.log_gamma_difference", "(f32(1e-3), f32(1e6))"),
    ),
)
