"""A convolutional network against torch on the CPU, in the environment of the peers.

`UV_PROJECT_ENVIRONMENT=build/peers uv run --group dev --group peers benchmarks/convolution.py`. The network of Mnih et al.
2015 with 512 hidden units reads 256 images of 84x84x4 bytes. "forward" gives the action head and values, "gradient" those, a
loss and all gradients. Both run in turn in one process; a ratio is torch's time over ours, and torch keeps images in the
layout that is faster for it. GFLOP/s count the products of weights alone; the processor's are those of torch's product of
1024x1024 matrices.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pufferlib_core import native
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import get_backend
from pufferlib_core.native import ffi, lib
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Discrete
from torch import nn

ROWS = 256
SPEC = PolicySpec(
    obs_space=Box(0, 255, (84, 84, 4), np.uint8),
    action_space=Discrete(6),
    config=PolicyConfig(conv=("nature",), hidden=(512,), activation="relu"),
)
PRODUCTS = (20 * 20 * 32 * 8 * 8 * 4, 9 * 9 * 64 * 4 * 4 * 32, 7 * 7 * 64 * 3 * 3 * 64, 3136 * 512)  # of one image, by layer
FORWARD = 2 * ROWS * sum(PRODUCTS)
GRADIENT = FORWARD + 2 * ROWS * (2 * sum(PRODUCTS) - PRODUCTS[0])  # images have no gradient

Calls = dict[str, Callable[[], Any]]


def ours(images: Any, threads: int) -> Calls:
    """Forward pass and gradient by the core."""
    backend, pool, rng = get_backend("native", "ppo.update"), native.Pool(threads), np.random.default_rng(1)
    params = backend.initial_params(SPEC, 0)
    policy = backend.NativePolicy(SPEC, params, None, pool)
    memory = native.memory(lib.puf_ppo_bytes(policy.handle, ROWS, ROWS, 1, lib.PUF_ADAM), "ppo")
    handle, config, batch = ffi.new("puf_ppo **"), ffi.new("puf_ppo_config *"), ffi.new("puf_batch *")
    native.check(
        lib.puf_ppo_init(handle, ffi.from_buffer(memory), memory.nbytes, policy.handle, ROWS, ROWS, 1, lib.PUF_ADAM), "ppo"
    )
    for name in ("clip", "value_coef", "normalize_advantage", "epochs"):
        setattr(config, name, getattr(PPOConfig(), name))
    config.minibatch = batch.rows = ROWS
    planes = {name: rng.normal(size=ROWS).astype(np.float32) for name in ("logprob", "advantage", "target", "value")}
    action, valid, index = np.zeros(ROWS, np.int32), np.ones(ROWS, np.uint8), np.arange(ROWS, dtype=np.int32)
    grads = np.zeros(SPEC.params, np.float32)
    for name, plane in planes.items():
        setattr(batch, name, ffi.from_buffer("float[]", plane))
    batch.action, batch.valid = ffi.from_buffer(action), ffi.from_buffer("uint8_t[]", valid)

    def gradient() -> None:
        obs = SPEC.tree.features(images)
        batch.obs = ffi.from_buffer(obs)
        status = lib.puf_ppo_gradient(
            handle[0], pool.exec, config, batch, ffi.from_buffer("int32_t[]", index), ROWS, ffi.from_buffer("float[]", params),
            ffi.from_buffer("float[]", grads), ffi.NULL,
        )  # fmt: skip
        native.check(status, "gradient")

    return {"forward": lambda: policy.forward(images), "gradient": gradient, "keeps": lambda: (memory, planes, action, valid)}


def theirs(images: Any, layout: torch.memory_format) -> Calls:
    """The same by torch."""
    relu = nn.ReLU()
    convs = [nn.Conv2d(4, 32, 8, 4), relu, nn.Conv2d(32, 64, 4, 2), relu, nn.Conv2d(64, 64, 3), relu]
    network = nn.Sequential(*convs, nn.Flatten(), nn.Linear(3136, 512), relu, nn.Linear(512, 7)).to(memory_format=layout)
    obs = torch.from_numpy(images)

    def run() -> torch.Tensor:
        return network((obs.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=layout))

    def gradient() -> None:
        network.zero_grad(set_to_none=True)
        out = run()
        (out[:, :6].log_softmax(1)[:, 0].mean() + out[:, 6].square().mean()).backward()

    return {"forward": torch.no_grad()(run), "gradient": gradient}


def seconds(call: Callable[[], Any]) -> float:
    """Of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> None:
    """Prints a line for each pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 84, 84, 4), dtype=np.uint8)
    square = torch.rand(1024, 1024)
    us, them = ours(images, args.threads), [theirs(images, m) for m in (torch.contiguous_format, torch.channels_last)]
    for name, work in (("forward", FORWARD), ("gradient", GRADIENT)):
        rounds = []
        for _ in range(args.rounds + 1):  # the first warms up
            rounds.append((seconds(us[name]), min(seconds(t[name]) for t in them), seconds(lambda: square @ square)))
        mine, other, peak = (min(column) for column in zip(*rounds[1:], strict=True))
        ratio = statistics.median(theirs / ours for ours, theirs, _ in rounds[1:])
        print(
            f"{name}: {mine * 1e3:.1f} ms, torch {other * 1e3:.1f} ms, ratio {ratio:.2f} (median of {args.rounds}); "
            f"{work / mine / 1e9:.0f} GFLOP/s of {2 * 1024**3 / peak / 1e9:.0f}, {args.threads} threads"
        )


if __name__ == "__main__":
    main()
