"""Torch modules of one's own as networks (`policy.module`). Run by the gate `peers`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pufferlib_cli.main import main
from pufferlib_core import evaluate, load_checkpoint, load_policy, train
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.config import from_dict
from pufferlib_core.errors import CheckpointError, ConfigError
from pufferlib_core.native import Pool
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Discrete


class Remembering(torch.nn.Module):
    """A network of one's own: with a memory that fades, if the spec asks for one."""

    def __init__(self, spec):
        super().__init__()
        self.first = torch.nn.Linear(spec.tree.width, 32)
        self.kept = torch.nn.Linear(32, spec.carry) if spec.carry else None
        self.heads = torch.nn.Linear(32 + spec.carry, spec.logits)
        self.value = torch.nn.Linear(32 + spec.carry, 1)
        self.unused = torch.nn.Parameter(torch.ones(2))
        self.register_buffer("constant", torch.ones(1), persistent=False)
        self.log_std = torch.nn.Parameter(torch.zeros(spec.numbers)) if spec.numbers else None

    def forward(self, features, carry):
        h = torch.tanh(self.first(features))
        if carry is not None:
            carry = torch.tanh(self.kept(h) + 2 * carry)
            h = torch.cat([h, carry], 1)
        return self.heads(h), self.value(h).squeeze(1), carry


OWN = f"{__name__}:Remembering"


def make_state(module, seed=3, action=None):
    """What a run with a module begins with."""
    config = from_dict(PolicyConfig, {"module": module})
    spec = PolicySpec(obs_space=Box(-1, 1, (6,)), action_space=action or Discrete(3), config=config)
    engine = get_backend("torch", "ppo.update").make_engine(
        spec, PPOConfig(), options=backend_specs()["torch"].config(), num_envs=16, seed=seed, pool=Pool(1)
    )
    return engine.tensors(seed)


def test_resume_is_bit_exact_on_the_cpu(tmp_path):
    options = {"policy.module": OWN}
    whole = train("pendulum", backend="torch", timesteps=8_000, checkpoint_every=3_000, options=options, out=str(tmp_path))
    first = min((whole.run_dir / "checkpoints").iterdir())
    assert load_checkpoint(first).manifest["exact"]
    again = train(resume=first, out=str(tmp_path))
    assert first != whole.checkpoint
    a, b = (load_checkpoint(run.checkpoint).files for run in (whole, again))
    assert (a["policy"]["log_std"] != 0).all()
    for part in ("policy", "trainer"):
        assert {name: array.tobytes() for name, array in a[part].items()} == {
            name: array.tobytes() for name, array in b[part].items()
        }


def test_a_module_of_ones_own_learns_and_is_kept(tmp_path):
    policy = {"module": OWN, "core": "gru", "core_size": 8}
    options = {"policy": policy, "memory.length": 1, "train": {"stop_return": 0.99}}
    run = train("memory", backend="torch", options=options, out=str(tmp_path))
    assert evaluate("memory", run.checkpoint, backend="torch")["episode_return_mean"] >= 0.99
    saved = load_checkpoint(run.checkpoint)
    layers = {f"{layer}.{kind}" for layer in ("first", "kept", "heads", "value") for kind in ("weight", "bias")}
    assert set(saved.files["policy"]) == layers | {"unused"}
    assert {f"adam/{which}/kept.weight" for which in "mv"} <= set(saved.files["trainer"])
    assert saved.manifest["policy"]["config"]["module"] == OWN
    assert (saved.files["policy"]["unused"] == 1).all()
    command = ["--checkpoint", str(run.checkpoint), "--backend"]
    assert main(["eval", "memory", *command, "torch"]) == main(["demo", "memory", *command, "torch", "--fps", "0"]) == 0
    assert main(["eval", "memory", *command, "native"]) == 2
    for refused in (lambda: load_policy(run.checkpoint), lambda: evaluate("memory", run.checkpoint),
                    lambda: train(resume=run.checkpoint, backend="native", out=str(tmp_path))):  # fmt: skip
        with pytest.raises(ConfigError, match=r"policy\.module=.*is a module, which only the back end"):
            refused()
    with pytest.raises(CheckpointError, match=r"must be float32 .* is missing"):
        train(resume=run.checkpoint, options={"policy.module": ""}, out=str(tmp_path))


def test_a_module_begins_with_the_seed_of_the_run():
    before = torch.random.get_rng_state()
    a, b, c = (make_state(OWN, seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(a["first.weight"], b["first.weight"])
    assert not np.array_equal(a["first.weight"], c["first.weight"])


def broken(what):
    """A factory whose module breaks the protocol in one way."""

    def factory(spec):
        network = Remembering(spec)
        if what == "frozen":
            network.first.weight.requires_grad = False
        if what == "buffer":
            network.register_buffer("seen", torch.zeros(1))
        if what == "double":
            network.double()
        if what == "none":
            return None
        made = {"heads": lambda h, v, c: (h[:, :1], v, c), "pair": lambda h, v, c: (h, v), "carry": lambda h, v, c: (h, v, h)}
        if what in made:
            plain = network.forward
            network.forward = lambda features, carry: made[what](*plain(features, carry))
        return network

    return factory


frozen, buffer, double, none, heads, pair, carry = map(broken, ("frozen", "buffer", "double", "none", "heads", "pair", "carry"))
number = 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:Net", "to be imported here: No module named 'nowhere'"),
        (f"{__name__}:Nothing", "has no attribute 'Nothing'"),
        ("Remembering", "must be package.module:factory"),
        (f"{__name__}:number", "must be called with a PolicySpec, but it is a int"),
        (f"{__name__}:none", "must return a torch.nn.Module, got NoneType"),
        (f"{__name__}:frozen", "parameter first.weight must be float32, on the CPU and learnt"),
        (f"{__name__}:double", "got torch.float64"),
        (f"{__name__}:buffer", "buffers need persistent=False; got seen"),
        (f"{__name__}:heads", r"heads must be \(2, 3\) here, got \(2, 1\)"),
        (f"{__name__}:pair", r"forward must return \(heads, value, carry\), got tuple"),
        (f"{__name__}:carry", r"carry must be None"),
    ],
)
def test_modules_that_do_not_fit_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        make_state(name)


def test_the_page_says_what_runs(tmp_path):
    page = (Path(__file__).parents[2] / "docs/how-to/torch.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python3\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 1
    (tmp_path / "example.py").write_text(examples[0], encoding="utf-8")
    subprocess.run([sys.executable, "-W", "error", "example.py"], cwd=tmp_path, check=True)
