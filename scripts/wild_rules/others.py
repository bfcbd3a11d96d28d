"""equinox, flax, rlax, e3nn-jax, and smaller packages."""

from wild_rules import Finding, Listed, Rule

EX = "from exojax.special import faddeeva; from exojax.opacity.lpf import lpf"
ROTATION = "from exojax.postproc import spin_rotation as spin; from exojax.rt import chord"
JB = "import jaxbessel; from jaxbessel import bessel"
OPLANET = "import importlib; ju = importlib.import_module('jaxoplanet.utils')"
KEPLER = "from jaxoplanet.core.kepler import kepler"
LIMB = "import importlib; limb = importlib.import_module('jaxoplanet.core.limb_dark')"
BI = "from jax_bitempered_loss.loss import bi_tempered_logistic_loss as loss"
NIFTY = "from nifty.re.tree_math import util as nu"
NORM = "from jaxsim.math.utils import safe_norm"
X4 = "jnp.array([0.3, -1.0, 4.0, 12.0])"
SPD = "jnp.array([[2.0, 0.3], [0.3, 1.0]])"
LOSS = "lambda a: loss(a, jnp.eye(3)[1], {}, {}, 0.0, 60)"


def _harmonics(irreps, normalization):
    return (
        f"lambda x: e3nn_jax.spherical_harmonics('{irreps}', x, False,"
        f" normalization='{normalization}').array"
    )


RULES = (
    *(
        Rule(
            "equinox",
            f"equinox/internal/_nextafter.py:{line}",
            f"from equinox.internal import {name}",
            name,
            ("(jnp.array([0.3, -1.0]),)",),
            deliberate="the derivative of the identity",
        )
        for line, name in ((6, "nextafter"), (25, "prevbefore"))
    ),
    Rule(
        "equinox",
        "equinox/internal/_loop/checkpointed.py:263",
        "from equinox.internal import while_loop",
        "lambda a: while_loop(lambda s: s[1] < 6, lambda s: (jnp.cos(a * s[0]), s[1] + 1),"
        " (jnp.float64(0.3), 0), max_steps=8, kind='checkpointed')[0]",
        ("(0.7,)",),
    ),
    Rule(
        "rlax",
        "rlax/_src/clipping.py:57",
        "import rlax",
        "lambda x: rlax.clip_gradient(x, -0.1, 0.1)",
        ("(jnp.array([1.0, 2.0]),)",),
        deliberate="clips the gradient",
    ),
    *(
        Rule(
            "flax",
            f"flax/linen/fp8_ops.py:{line}",
            "from flax.linen import fp8_ops",
            call,
            ("(jnp.ones((2, 2), f32),)",),
            deliberate="straight through a quantization to float8",
        )
        for line, call in (
            (242, "lambda x: fp8_ops.in_qdq(f32, jnp.float8_e4m3fn, x, f32(1), jnp.ones(4, f32))"),
            (266, "lambda x: fp8_ops.out_qdq(f32, jnp.float8_e5m2, x, f32(1), jnp.ones(4, f32))"),
        )
    ),
    *(
        Rule(
            "e3nn-jax",
            "e3nn_jax/_src/spherical_harmonics/__init__.py:202",
            "import e3nn_jax",
            _harmonics(irreps, norm),
            ("(jnp.array([0.3, -0.5, 0.8]),)",),
            ("(jnp.array([0.0, 1.0, 0.0]),)",),
        )
        for irreps, norm in (("0e+1o+2e+3o", "component"), ("1o+2e", "norm"))
    ),
    Rule(
        "e3nn-jax",
        "e3nn_jax/_src/utils/einsum.py:8",
        "from e3nn_jax._src.utils.einsum import einsum",
        "lambda a, b: einsum('ij,j->i', a, b)",
        (f"({SPD}, jnp.array([1.0, 2.0]))",),
    ),
    Rule("jaxbessel", "jaxbessel/bessel.py:320", JB, "bessel.j0", (f"({X4},)",), ("(0.0,)",)),
    Rule("jaxbessel", "jaxbessel/bessel.py:168", JB, "bessel.j1", (f"({X4},)",), ("(0.0,)",)),
    Rule(
        "jaxbessel",
        "jaxbessel/bessel.py:372",
        JB,
        "lambda x: jaxbessel.bessel_jn(4, x)",
        (f"({X4},)",),
    ),
    Rule(
        "jaxbessel",
        "jaxbessel/spherical.py:56",
        JB,
        "lambda x: jaxbessel.spherical_bessel_jn(3, x)",
        (f"({X4},)",),
    ),
    Rule(
        "jaxbessel",
        "jaxbessel/fractional.py:80",
        JB,
        "lambda x: jaxbessel.bessel_jv_over_xv(0.5, x)",
        (f"({X4},)",),
    ),
    Rule(
        "jaxoplanet",
        "jaxoplanet/core/kepler.py:28",
        KEPLER,
        "kepler",
        ("(0.3, 0.1)", "(4.0, 0.9)"),
        ("(0.0, 0.2)",),
    ),
    Rule(
        "jaxoplanet",
        "jaxoplanet/utils.py:11",
        OPLANET,
        "ju.zero_safe_sqrt",
        ("(0.3,)",),
        ("(f32(1e-6),)",),
    ),
    Rule(
        "jaxoplanet",
        "jaxoplanet/core/limb_dark.py:191",
        LIMB,
        "lambda b, r: limb.light_curve(jnp.array([0.3, 0.2]), b, r)",
        ("(0.3, 0.1)", "(0.95, 0.1)"),
    ),
    *(
        Rule(
            "jax-bitempered-loss",
            "jax_bitempered_loss/loss.py:258",
            BI,
            LOSS.format(*t),
            ("(jnp.array([0.3, 1.0, -0.5]),)",),
        )
        for t in ((0.8, 1.2), (1.0, 1.0))
    ),
    Rule(
        "nifty",
        "nifty/re/tree_math/util.py:15",
        NIFTY,
        "lambda t, x: nu.solve(" + SPD + " + t * jnp.eye(2), x)",
        ("(0.1, jnp.array([1.0, 2.0]))",),
    ),
    Rule(
        "nifty",
        "nifty/re/tree_math/util.py:84",
        NIFTY,
        "lambda t: nu.sqrtm(" + SPD + " + t * jnp.eye(2))",
        ("(0.1,)",),
    ),
    Rule("exojax", "exojax/special/faddeeva.py:151", EX, "faddeeva.rewofzx", ("(0.3, 0.5)",)),
    Rule("exojax", "exojax/opacity/lpf/lpf.py:225", EX, "lpf.hjert", ("(0.3, 0.5)", "(20.0, 0.1)")),
    Rule(
        "exojax", "exojax/rt/chord.py:5", ROTATION, "chord.safe_sqrt", ("(jnp.array([0.3, 2.0]),)",)
    ),
    Rule(
        "exojax",
        "exojax/postproc/spin_rotation.py:89",
        ROTATION,
        "spin.rotkernel_Gimenez",
        ("(0.3, 0.2, 0.1)",),
    ),
    Rule(
        "exojax",
        "exojax/postproc/spin_rotation.py:207",
        ROTATION,
        "spin.integrated_rotkernel_trans",
        ("(-0.3, 0.2)",),
    ),
    Rule(
        "jaxsim",
        "jaxsim/math/utils.py:8",
        NORM,
        "safe_norm",
        ("(jnp.array([3.0, 4.0]),)",),
        ("(jnp.zeros(3),)",),
    ),
)

FINDINGS = (
    Finding(
        "first",
        "exojax",
        "special.faddeeva.rewofzx by y, any cotangent but 1",
        "exojax/special/faddeeva.py:151",
        EX,
        "jax.grad(lambda y: 3 * faddeeva.rewofzx(0.3, y))(0.5)",
        "0.89095642",
        "slope(lambda y: 3 * faddeeva.rewofzx(0.3, y), 0.5)",
        "differences: -1.365802; the cotangent multiplies one term of two: (… ) · g − 2/√π",
        "",
        ("faddeeva.rewofzx", "(0.3, 0.5)"),
    ),
    Finding(
        "first",
        "jaxoplanet",
        "utils.zero_safe_sqrt, 0 < x < 10 ε",
        "jaxoplanet/utils.py:11",
        OPLANET,
        "jax.grad(ju.zero_safe_sqrt)(f32(1e-6))",
        "0.0005",
        "500.0",
        "1/(2√x); below ten roundings √x is divided by 1 and not by x",
        "",
        ("ju.zero_safe_sqrt", "(f32(1e-6),)"),
    ),
    Finding(
        "value",
        "jaxsim",
        "math.utils.safe_norm of a small vector",
        "jaxsim/math/utils.py:8",
        NORM,
        "jax.value_and_grad(safe_norm)(jnp.full(3, 1e-9))",
        "(0.0, np.zeros(3))",
        "(np.sqrt(3) * 1e-9, np.full(3, 1 / np.sqrt(3)))",
        "closed form; all numbers below 1e-8 count as zero, but only under differentiation",
        "",
        ("safe_norm", "(jnp.full(3, 1e-9),)"),
    ),
    Finding(
        "hard",
        "jaxsim",
        "math.utils.safe_norm(axis=…) with a row of zeros",
        "jaxsim/math/utils.py:8",
        NORM,
        "jax.grad(lambda x: safe_norm(x, axis=1).sum())(jnp.array([[3.0, 4.0], [0.0, 0.0]]))[1]",
        "np.array([np.nan, np.nan])",
        "np.zeros(2)",
        "the docstring promises a safe gradient; it looks whether the whole array is zero",
        "",
        ("lambda x: safe_norm(x, axis=1)", "(jnp.array([[3.0, 4.0], [0.0, 0.0]]),)"),
    ),
    Finding(
        "first",
        "jax-bitempered-loss",
        "bi_tempered_logistic_loss by labels",
        "jax_bitempered_loss/loss.py:258",
        BI,
        "jax.grad(loss, 1)(jnp.array([0.3, 1.0, -0.5]), jnp.array([0.2, 0.5, 0.3]), 0.8, 1.2,"
        " 0.0, 60)[0]",
        "0.0",
        "slope(lambda t: loss(jnp.array([0.3, 1.0, -0.5]),"
        " jnp.array([0.2 + t, 0.5, 0.3]), 0.8, 1.2, 0.0, 60), 0.0)",
        "log_t(l) − log_t(p) = -0.303659, and differences; None for all arguments but the"
        " activations, and no word of it",
        "",
        (
            "lambda l: loss(jnp.array([0.3, 1.0, -0.5]), l, 0.8, 1.2, 0.0, 60)",
            "(jnp.array([0.2, 0.5, 0.3]),)",
        ),
    ),
    Finding(
        "transform",
        "e3nn-jax",
        "utils.einsum with an integer operand",
        "e3nn_jax/_src/utils/einsum.py:8",
        "from e3nn_jax._src.utils.einsum import einsum",
        "jax.grad(lambda x: einsum('i,i->', x, jnp.array([1, 2])))(jnp.ones(2))",
        "ValueError",
        "np.array([1.0, 2.0])",
        "closed form; a float0 tangent reaches the rule",
        "",
        ("lambda x: einsum('i,i->', x, jnp.array([1, 2]))", "(jnp.ones(2),)"),
    ),
)

TPU = "a kernel for another device"
READ = "read: a wrapper around rules of the user's, with no formula of its own"

LISTED = (
    Listed("jax", "jax/_src/cudnn/fused_attention_stablehlo.py", "dot_product_attention (2)", TPU),
    Listed("jax", "jax/_src/cudnn/scaled_matmul_stablehlo.py", "scaled_dot_general_fn", TPU),
    Listed("jax", "jax/experimental/rnn.py", "lstm", TPU),
    Listed(
        "jax", "jax/experimental/pallas/ops/tpu/*", "flash, splash attention, megablox (5)", TPU
    ),
    Listed("jax", "jax/experimental/pallas/ops/gpu/*", "attention, layer_norm, rms_norm (3)", TPU),
    Listed("jax", "jax/_src/lax/control_flow/solves.py:132", "custom_root", READ),
    Listed("jax", "jax/_src/custom_derivatives.py", "custom_gradient, linear_call", READ),
    Listed(
        "equinox", "equinox/_ad.py", "filter_custom_vjp, filter_custom_jvp, nondifferentiable", READ
    ),
    Listed("equinox", "equinox/_errors.py:79", "error_if", "read: the identity"),
    Listed("equinox", "equinox/debug/_backward_nan.py:41", "backward_nan", "read: the identity"),
    Listed("flax", "flax/nnx/transforms/autodiff.py, flax/core/lift.py", "custom_vjp (3)", READ),
    Listed(
        "flax",
        "flax/linen/fp8_ops.py:286-496",
        "in_q, out_dq, quantized_dot, … (4)",
        "deliberate: straight through",
    ),
    Listed(
        "jaxopt",
        "jaxopt/_src/perturbations.py",
        "make_perturbed_argmax, _max, _fun",
        "deliberate: estimates by sampling",
    ),
    Listed("lineax", "lineax/_misc.py:63", "_asarray; optimistix has it too", "read: a cast"),
    Listed("flowjax", "flowjax/bijections/utils.py:318", "NumericalInverse", READ),
    Listed(
        "ott-jax",
        "ott/solvers/linear/semidiscrete.py:487",
        "_semidiscrete_loss",
        "read: not run yet",
    ),
    Listed("tfp-nightly", "…/math/ode/base.py:462", "ode solvers' adjoint", "read: not run yet"),
    Listed(
        "tfp-nightly",
        "…/experimental/math/manual_special_functions.py",
        "exp, log, expm1, log1p by Padé (4)",
        "the value is an approximation",
    ),
    Listed(
        "tfp-nightly",
        "…/experimental/bijectors/scalar_function_with_inferred_inverse.py",
        "(2)",
        READ,
    ),
    Listed(
        "tfp-nightly",
        "…/experimental/distributions/marginal_fns.py:212",
        "retrying_cholesky",
        "read: not run yet",
    ),
    Listed(
        "tfp-nightly",
        "…/internal/distribute_lib.py",
        "rwb_psum, rwb_pbroadcast",
        "deliberate: sums over a mesh",
    ),
    Listed("tfp-nightly", "…/internal/variadic_reduce.py:161", "variadic_reduce", READ),
    Listed(
        "tfp-nightly",
        "…/distributions/mixture_same_family.py:721",
        "_prevent_2nd_derivative",
        "deliberate: refuses",
    ),
    Listed("jax-md", "jax_md/space.py:138", "transform", "deliberate: real-space forces"),
    Listed(
        "jax-md",
        "jax_md/rigid_body.py:146",
        "_quaternion_rotate",
        "deliberate: projected on the sphere",
    ),
    Listed(
        "brax", "brax/math.py:194", "safe_arccos, safe_arcsin", "deliberate: clipped at the border"
    ),
)
