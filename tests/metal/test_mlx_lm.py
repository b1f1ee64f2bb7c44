"""Kernels written for mx.fast.metal_kernel elsewhere run unchanged: mlx-lm's own, against its plain MLX versions.

The modules are imported afresh with our metal_kernel in the place of MLX's, so it is their text that runs.
"""

import importlib.util
import sys

import mlx.core as mx
import numpy as np
import pytest

from course_lib.kernels.metal import MetalFault, metal_kernel

B, T, H, D = 1, 3, 2, 64


class Checked:
    """Our kernel in the place of MLX's, under the sanitizer."""

    def __init__(self, *description, **options):
        self.kernel = metal_kernel(*description, device="emulator", **options)

    def __call__(self, **call):
        return self.kernel(**call, check=True)


@pytest.fixture
def mlx_lm(monkeypatch):
    """mlx_lm(name): a fresh copy of the module mlx_lm.<name>, whose kernels are ours."""
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx.fast, "metal_kernel", Checked)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu, 0))

    def fresh(name):
        spec = importlib.util.find_spec(f"mlx_lm.{name}")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return fresh


@pytest.fixture
def arrays(rng):
    def array(*shape, dtype=mx.float32, scale=1.0):
        return mx.array((rng.standard_normal(shape) * scale).astype(np.float32)).astype(dtype)

    return array


def close(given, wanted, tolerance=2e-5):
    given, wanted = (np.array(a.astype(mx.float32)) for a in (given, wanted))
    assert given.shape == wanted.shape
    np.testing.assert_allclose(given, wanted, atol=tolerance * max(1.0, np.abs(wanted).max()), rtol=0)


def rms_norm(x, eps):
    return x * mx.rsqrt(mx.mean(x * x, axis=-1, keepdims=True) + eps)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("vector_gate", [False, True])
def test_gated_delta(mlx_lm, arrays, rng, masked, vector_gate):
    module = mlx_lm("models.gated_delta")
    q, k, v = arrays(B, T, 1, D, scale=0.2), arrays(B, T, 1, D, scale=0.2), arrays(B, T, H, 8)
    gate = mx.sigmoid(arrays(*((B, T, H, D) if vector_gate else (B, T, H))))
    beta, state = mx.sigmoid(arrays(B, T, H)), arrays(B, H, 8, D)
    mask = mx.array([[True, False, True]]) if masked else None
    y, new_state = module.gated_delta_kernel_unpacked(q, k, v, gate, beta, state, mask)
    wanted_y, wanted_state = module.gated_delta_ops(q, k, v, gate, beta, state, mask)
    close(new_state, wanted_state)
    keep = mx.array([0, 2]) if masked else mx.arange(T)  # the kernel writes 0 where the plain version does not mind
    close(y[:, keep], wanted_y[:, keep])


def test_gated_delta_packed(mlx_lm, arrays):
    module = mlx_lm("models.gated_delta")
    q, k, v = arrays(B, T, 1, 128, scale=0.1), arrays(B, T, 1, 128, scale=0.1), arrays(B, T, H, 16)
    gate, beta, state = mx.sigmoid(arrays(B, T, H)), mx.sigmoid(arrays(B, T, H)), arrays(B, H, 16, 128)
    packed = module._gated_delta_kernel_impl(q, k, v, gate, beta, state, allow_packed=True)
    tree = module.gated_delta_kernel_xtree(q, k, v, gate, beta, state)
    for given, wanted in zip(packed, module.gated_delta_ops(q, k, v, gate, beta, state), strict=True):
        close(given, wanted)
    for given, wanted in zip(packed, tree, strict=True):  # as mlx-lm promises, bit by bit
        assert mx.array_equal(given, wanted)


def test_ssm(mlx_lm, arrays):
    module = mlx_lm("models.ssm")
    x, state = arrays(B, 1, 4, 8), arrays(B, 4, 8, D)
    a, d, bias, dt = arrays(4, scale=0.3), arrays(4), arrays(4), arrays(B, 1, 4)
    b, c = arrays(B, 1, 2, D), arrays(B, 1, 2, D)
    limits = (0.001, 100.0)
    given = module.ssm_update_kernel(x, a, b, c, d, dt, bias, state, limits)
    wanted = module.ssm_attn(x, a, b, c, d, dt, bias, state, limits)
    for g, w in zip(given, wanted, strict=True):
        close(g, w)


def test_rwkv7(mlx_lm, arrays):
    module = mlx_lm("models.rwkv7")
    r, k, v, a, b = (arrays(B, T, H, D, scale=0.2) for _ in range(5))
    w, state = mx.sigmoid(arrays(B, T, H, D)), arrays(B, H, D, D)
    y, new_state = module.wkv7_kernel(r, w, k, v, a, b, state)
    for t in range(T):
        wanted, state = module._wkv7_step_ops(*(s[:, t] for s in (r, w, k, v, a, b)), state)
        close(y[:, t], wanted[..., 0])
    close(new_state, state)


def test_sinkhorn(mlx_lm, arrays):
    module = mlx_lm("models.deepseek_v41")
    scores, eps = mx.exp(arrays(5, 4, 4)), mx.array([1e-6])
    given = module._sinkhorn(scores, iters=3, eps=eps)
    module._sinkhorn_kernel = None
    close(given, module._sinkhorn(scores, iters=3, eps=eps))


def test_attention_residual(mlx_lm, arrays):
    module = mlx_lm("models.kimi_k3")
    blocks = module.ResidualBlocks(1e-5)
    for _ in range(2):
        blocks.append(arrays(1, 3, D))
    partial_sum, weights = arrays(1, 3, D), arrays(D, scale=0.3)
    given = module._attn_res_mix(blocks, partial_sum, weights, 1e-5)
    close(given, module._attn_res_mix(blocks, partial_sum, weights, 1e-5, use_kernel=False))


def test_bitlinear(mlx_lm, rng, arrays):
    module = mlx_lm("models.bitlinear_layers")
    layer = module.BitLinear(128, 8, bias=False)
    layer.weight = mx.array(rng.integers(0, 256, layer.weight.shape, dtype=np.uint8))
    layer.weight_scale = mx.array([1.5])
    x = arrays(2, 128)
    packed = np.array(layer.weight)
    ternary = np.concatenate([(packed >> shift & 3).astype(np.float32) - 1 for shift in (0, 2, 4, 6)])
    scale = 1 / 1.5 if layer.invert_weight_scales else 1.5
    close(layer(x), x @ mx.array(ternary).T * scale)


def test_expert_routing(mlx_lm, arrays):
    logits, bias = arrays(3, 40), arrays(40, scale=0.1)
    inds, weights = mlx_lm("kernels.expert_routing").expert_routing(
        logits, bias, top_k=4, multiplier=0.9, score_eps=1e-9, route_scale=2.0
    )
    scores = mx.sigmoid(logits * 0.9)
    wanted = mx.argsort(-(scores + bias), axis=-1)[:, :4]
    assert mx.array_equal(inds, wanted.astype(mx.uint32))
    chosen = mx.take_along_axis(scores, wanted, axis=-1)
    close(weights, chosen / (chosen.sum(-1, keepdims=True) + 1e-9) * 2)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_qk_norm(mlx_lm, arrays, dtype):
    qkvg = arrays(3, 2 * (4 + 2) * 48, dtype=dtype)
    q, k = mlx_lm("kernels.qk_norm").qk_norm(
        qkvg, n_heads=4, n_kv_heads=2, head_dim=48, eps=1e-5, query_scale=0.5
    )
    heads = rms_norm(qkvg[:, : 6 * 48].reshape(3, 6, 48).astype(mx.float32), 1e-5).astype(dtype)
    tolerance = {mx.float32: 1e-6, mx.float16: 1e-3, mx.bfloat16: 8e-3}[dtype]
    close(q, (heads[:, :4].astype(mx.float32) * 0.5).astype(dtype), tolerance)
    close(k, heads[:, 4:], tolerance)


def test_qk_norm_rope(mlx_lm, arrays):
    qkvg = arrays(1, 3, 2 * (4 + 2) * D)
    q, k = mlx_lm("kernels.qk_norm_rope").qk_norm_rope(
        qkvg, n_heads=4, n_kv_heads=2, head_dim=D, eps=1e-5, query_scale=0.5, rope_base=10000.0, offset=7
    )
    heads = rms_norm(qkvg[..., : 6 * D].reshape(1, 3, 6, D), 1e-5)
    rotated = [mx.fast.rope(h.transpose(0, 2, 1, 3), D, traditional=True, base=10000.0, scale=1.0, offset=7)
               for h in (heads[:, :, :4] * 0.5, heads[:, :, 4:])]  # fmt: skip
    for given, wanted in zip((q, k), rotated, strict=True):
        close(given, wanted.transpose(0, 2, 1, 3), 2e-5)


def test_norm_gate_of_a_transposed_view(mlx_lm, arrays):
    x, gate = arrays(1, 3, H, D).transpose(0, 2, 1, 3), arrays(1, 3, H * D)
    given = mlx_lm("kernels.rms_norm_sigmoid_gate").rms_norm_sigmoid_gate(x, gate, eps=1e-5)
    normed = rms_norm(x, 1e-5).transpose(0, 2, 1, 3).reshape(1, 3, H * D)
    close(given, normed * mx.sigmoid(gate))


def test_norm_add_norm(mlx_lm, arrays):
    module = mlx_lm("kernels.norm_add_norm")
    D = 600
    branch, stream = arrays(2, D), arrays(2, D)
    alpha, beta, weight = arrays(D), arrays(D), arrays(D)
    norm = module.nn.RMSNorm(D, eps=1e-5)
    norm.weight = arrays(D)
    new_stream, normed = module.norm_add_norm(
        branch, stream, alpha=alpha, beta=beta, post_weight=weight, post_eps=1e-6, next_norm=norm
    )
    wanted = alpha * stream + beta * rms_norm(weight * branch, 1e-6)
    close(new_stream, wanted)
    close(normed, rms_norm(wanted, 1e-5) * norm.weight)
    assert mx.array_equal(module.pre_norm(new_stream, norm, dtype=mx.float32), normed)


def test_post_expert_norm_combine(mlx_lm, arrays):
    experts, weights, norm_w = arrays(2, 3, 512), arrays(2, 3), arrays(512)
    given = mlx_lm("kernels.post_expert_norm_combine").post_expert_norm_combine(
        experts, weights, norm_weight=norm_w, eps=1e-5
    )
    close(given, (rms_norm(experts * norm_w, 1e-5) * weights[..., None]).sum(-2))


def test_the_sanitizer_finds_the_race_in_the_kl_loss(mlx_lm, arrays, monkeypatch):
    """It reads one reduction and writes the next with no barrier between, and its last barriers name no memory: its
    result depends on the order in which the SIMD-groups happen to run."""
    monkeypatch.setattr("mlx_lm.utils.can_run_metal", lambda: True)
    kernel = mlx_lm("tuner.losses")._make_kl_forward_kernel().kernel
    logits_q, logits_p = arrays(2, 5000), arrays(2, 5000)
    call = {
        "inputs": [logits_q, logits_p], "output_shapes": [(2,)], "output_dtypes": [mx.float32],
        "template": [("T", mx.float32), ("V", 5000)], "grid": (1024, 2, 1), "threadgroup": (1024, 1, 1),
    }  # fmt: skip
    with pytest.raises(MetalFault, match=r"(?s)data race.*shared"):
        kernel(**call, check=True)
