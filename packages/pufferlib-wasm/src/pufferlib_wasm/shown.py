"""The part of a checkpoint that a page plays with, and the proof that it plays as here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from pufferlib_core.backends.plain import PlainPolicy
from pufferlib_core.checkpoint import load_checkpoint, reading
from pufferlib_core.checkpoint.files import MANIFEST, SCHEMA, STATE, seal, tensor_bytes
from pufferlib_core.data import handed_on
from pufferlib_core.errors import CheckpointError, ConfigError, RunError
from pufferlib_core.native import Array
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.seeding import STREAM_EVAL_ENV
from pufferlib_core.spaces import fingerprint
from pufferlib_core.vector import env_spec, vectorize

from pufferlib_wasm.catalogue import catalogue
from pufferlib_wasm.compile import Kind, installed_environments

AGENTS, STEPS = 4, 250  # of the proof, in each module
MODULES: tuple[Kind, ...] = ("simd", "scalar")
CLOSE = 1e-4  # of outputs, from the formulas in float64; relative to the largest, or to 1
PATIENCE = 120  # seconds
NAMED = ("env", "algorithm", "backend", "seed", "policy", "space_fingerprint", "created", "step")  # of a manifest
PROVE = Path(__file__).with_name("prove.mjs")


class Shown:
    """A policy that pages can play.

    Args:
        checkpoint: checkpoint or run folder.

    Raises:
        CheckpointError: if it is damaged or foreign, lacks what acting needs, or has other spaces than its environment.
        ConfigError: if no module plays it.
    """

    def __init__(self, checkpoint: str | Path) -> None:
        saved = load_checkpoint(checkpoint)
        self.path = saved.path
        with reading(saved.path):
            self.said = {name: saved.manifest[name] for name in NAMED}
            self.env, self.digest = str(self.said["env"]), str(saved.manifest["digest"])
            self.policy = PolicySpec.from_json(self.said["policy"])
            tensors = saved.files["policy"]
            known = installed_environments()
            if self.env not in known:
                raise ConfigError(
                    f"{self.env} is not in the module, which holds {', '.join(known)}: a page of one's own shows others, "
                    "see docs/how-to/browser.md"
                )
            self.own: dict[str, Any] = saved.state.get("settings", {}).get(self.env, {})
        _check_playable(self.policy)
        self.spec = env_spec(self.env, self.own)
        if fingerprint(*self.spec.spaces) != self.said["space_fingerprint"]:
            raise CheckpointError(f"{saved.path}: its spaces are not those of {self.env} with its settings, in this version")
        needed = [tensor.name for tensor in self.policy.tensors()]
        needed += [f"obs_norm/{name}" for name in ("mean", "var", "count")] if self.policy.config.normalize_obs else []
        missing = [name for name in needed if name not in tensors]
        if missing:
            raise CheckpointError(
                f"{saved.path}: lacks {', '.join(missing)}, without which actions would be wrong: take a whole checkpoint"
            )
        self.tensors = {name: tensors[name] for name in needed}
        self.reference = PlainPolicy(self.policy, self.tensors)

    def files(self) -> dict[str, bytes]:
        """A checkpoint of what acting needs, by file name; other back ends and `puffer eval` read it too."""
        contents = {
            "policy.safetensors": tensor_bytes(self.tensors),
            STATE: json.dumps({"settings": {self.env: self.own}}, sort_keys=True, indent=1).encode(),
        }
        listed = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
        reason = "holds only what acting needs"
        manifest = self.said | {
            "kind": "pufferlib-checkpoint",
            "schema": SCHEMA,
            "files": listed,
            "exact": False,
            "exact_reason": reason,
        }
        return contents | {MANIFEST: seal(manifest)}

    def prove(self, folder: Path, script: Path) -> dict[str, Any]:
        """Plays in both modules of an exported folder, by the page's own worker under node.

        Args:
            folder: of the page.
            script: a copy of the worker, `.mjs`.

        Returns:
            `verified`, and what was compared; or `unverified_because`.

        Raises:
            RunError: if the page refuses the policy, its environments are not those here, or an action is another one.
        """
        node = shutil.which("node")
        if node is None:
            return {"verified": False, "unverified_because": "node is not installed"}
        worst = 0.0
        for module in MODULES:
            command = [node, str(PROVE), str(folder), str(script), module, str(AGENTS), str(STEPS)]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=PATIENCE, stdin=subprocess.DEVNULL
                )
            except subprocess.TimeoutExpired as error:
                raise RunError(
                    f"{self.path}: the {module} module takes more than {PATIENCE} s for {STEPS} steps: too slow to be watched"
                ) from error
            if done.returncode:
                raise RunError(f"{self.path}: the exported page fails under node: {done.stderr.strip()[-2000:]}")
            told = json.loads(done.stdout)
            if "refused" in told:
                raise ConfigError(f"{self.path}: the module does not play this policy: {told['refused']}")
            if told["module"] != module:
                raise RunError(f"{self.path}: node {told['node']} does not run the {module} module: take a newer node")
            worst = max(worst, self._compare(told["rows"], module))
        return {"verified": True, "node": told["node"], "modules": list(MODULES), "rows": AGENTS * STEPS, "worst": worst}

    def _compare(self, rows: list[dict[str, Any]], module: str) -> float:
        """Follows what agents did in a page: environments must agree to the bit, actions with the formulas.

        Returns:
            The largest distance of a number; of choices, of the outputs of one that the formulas find a little better.
        """
        vec = vectorize(self.spec, num_envs=AGENTS, threads=1, seed=0, first_stream=STREAM_EVAL_ENV)
        worst = 0.0
        try:
            latest = vec.reset()
            carry = np.zeros((AGENTS, self.policy.carry), np.float32) if self.policy.carry else None
            for t, row in enumerate(rows):
                before = None if carry is None else carry.copy()
                obs = np.array(latest.obs)
                ours, _, _ = self.reference.act(obs, action_mask=latest.action_mask, carry=carry)
                theirs = np.asarray(row["action"], ours.dtype).reshape(ours.shape)
                apart = self._distance(ours, theirs, obs, before)
                if not apart <= CLOSE:
                    raise RunError(
                        f"{self.path}: step {t} in the {module} module: it acts {theirs.tolist()}, the formulas {ours.tolist()}"
                    )
                worst = max(worst, apart)
                latest = vec.step(theirs)
                if np.asarray(row["obs"], np.float32).tobytes() != np.ascontiguousarray(latest.obs).tobytes():
                    raise RunError(
                        f"{self.path}: step {t}: {self.env} of the {module} module is not that of here: build it anew"
                    )
                if carry is not None and before is not None:
                    carry[...] = handed_on(before, carry, latest.terminated | latest.truncated, latest.valid)
        finally:
            vec.close()
        return worst

    def _distance(self, ours: Array, theirs: Array, obs: Array, carry: Array | None) -> float:
        if self.policy.numbers:
            ours, theirs = (self.policy.postprocess(action) for action in (ours, theirs))
            return float(np.max(np.abs(ours - theirs)) / max(1.0, float(np.abs(ours).max())))
        if np.array_equal(ours, theirs):
            return 0.0
        heads, _ = self.reference.forward(obs, carry=carry)
        first = np.concatenate([[0], np.cumsum(self.policy.nvec)[:-1]])
        chosen, taken = (np.take_along_axis(heads, action.reshape(len(heads), -1) + first, 1) for action in (ours, theirs))
        return float(np.max(chosen - taken) / max(1.0, float(np.abs(heads).max())))


def _check_playable(policy: PolicySpec) -> None:
    """Refuses networks that no module has.

    Raises:
        ConfigError: says what, and what to do.
    """
    policy.check_described()
    possible, default = catalogue([])["structs"]["puf_web_policy_config"]["fields"], PolicyConfig()
    for field in dataclasses.fields(PolicyConfig):
        value = getattr(policy.config, field.name)
        if field.name not in possible and value != getattr(default, field.name):
            raise ConfigError(
                f"policy.{field.name}={value}: modules of WebAssembly do not have it: train without, or export onnx"
            )
