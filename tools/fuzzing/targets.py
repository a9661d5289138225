"""The fuzz targets of tools/fuzz.py: `targets.py TARGET [libFuzzer's options ...]`.

Each target takes bytes, turns them through hypothesis into raw or almost right data, and holds a promise: an error of
our own or a right result, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["pufferlib_core"]):
    import numpy as np
    from pufferlib_core.checkpoint import files, load_checkpoint
    from pufferlib_core.config import dumps_toml, load_toml
    from pufferlib_core.errors import NonFiniteError, PufferError
    from pufferlib_core.loops import nonfinite
    from pufferlib_core.loops.api import load_policy, train
    from pufferlib_core.loops.replay import replay
    from pufferlib_core.loops.settings import resolve
    from pufferlib_core.policies import PolicySpec
    from pufferlib_core.spaces import Box, Dict, Discrete, Mixed, MultiDiscrete, Tuple, fingerprint, from_json

from hypothesis import given, settings
from hypothesis import strategies as st

WORK = Path(tempfile.mkdtemp(prefix="puffer-fuzz-"))
quick = settings(database=None, deadline=None)

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.integers(-2, 70000))
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
)


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside nested lists and dictionaries."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [path] * bool(path) + [place for key, value in inner for place in places(value, (*path, key))]


@st.composite
def spoilt(draw: Any, values: Any) -> Any:
    """JSON values with up to three of them replaced or taken out."""
    result = json.loads(json.dumps(values))
    for _ in range(draw(st.integers(0, 3))):
        known = places(result)
        if not known:
            break
        *path, last = draw(st.sampled_from(known))
        parent = result
        for key in path:
            parent = parent[key]
        if draw(st.booleans()):
            parent[last] = draw(anything)
        else:
            del parent[last]
    return result


def reseal(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes a manifest whose digest is right, as somebody who forges one would."""
    manifest = manifest | {"digest": files._digest(manifest)}
    (folder / files.MANIFEST).write_bytes(files._canonical(manifest))


def try_policy(folder: Path) -> None:
    """A checkpoint is refused with an error of ours, or its policy acts with finite numbers."""
    try:
        policy = load_policy(folder)
        obs = np.zeros((1, *policy.spec.obs_space.shape), np.float32)
        policy.act(obs, greedy=True)
    except PufferError:
        return


def config_target() -> Callable[[bytes], Any]:
    """Settings files: what `resolve` accepts survives being written and read again."""
    intact = resolve({"env": "cartpole"})[0].to_dict()
    path = WORK / "config.toml"

    @quick
    @given(st.one_of(st.binary(max_size=400), spoilt(intact)))
    def test(content: bytes | Any) -> None:
        try:
            path.write_bytes(content if isinstance(content, bytes) else dumps_toml(content).encode())
        except UnicodeEncodeError:
            return  # a lone surrogate is no text
        try:
            values = load_toml(path)
            found = resolve({"env": "cartpole"}, values)[0].to_dict()
        except PufferError:
            return
        path.write_text(dumps_toml(found))
        assert resolve(load_toml(path))[0].to_dict() == found

    return test.hypothesis.fuzz_one_input


def trained() -> Path:
    """A real checkpoint of a short run."""
    return train("cartpole", timesteps=2048, out=str(WORK)).checkpoint


def manifest_target() -> Callable[[bytes], Any]:
    """Manifests: only the very bytes that were written load; a forged one never ends in a foreign error."""
    folder = trained()
    intact = (folder / files.MANIFEST).read_bytes()
    values = json.loads(intact)
    patched = st.builds(
        lambda at, patch: intact[:at] + patch + intact[at + len(patch) :], st.integers(0, len(intact)), st.binary(max_size=9)
    )

    @quick
    @given(st.one_of(st.binary(max_size=400), patched, spoilt(values)))
    def test(content: bytes | dict[str, Any]) -> None:
        if isinstance(content, dict):
            reseal(folder, content)
            try_policy(folder)
            return
        (folder / files.MANIFEST).write_bytes(content)
        try:
            load_checkpoint(folder)
        except PufferError:
            return
        assert content == intact

    return test.hypothesis.fuzz_one_input


def safetensors_target() -> Callable[[bytes], Any]:
    """Tensor files under a manifest that vouches for them: refused, or of the names and shapes of the policy."""
    folder = trained()
    path = folder / "policy.safetensors"
    intact = path.read_bytes()
    (length,) = struct.unpack("<Q", intact[:8])
    header, body = json.loads(intact[8 : 8 + length]), intact[8 + length :]
    manifest = json.loads((folder / files.MANIFEST).read_bytes())

    @quick
    @given(st.one_of(st.binary(max_size=400), spoilt(header)), st.integers(-8, 8))
    def test(content: bytes | Any, more: int) -> None:
        if not isinstance(content, bytes):
            text = json.dumps(content).encode()
            content = struct.pack("<Q", max(0, len(text) + more)) + text + body
        path.write_bytes(content)
        seal = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        reseal(folder, manifest | {"files": manifest["files"] | {path.name: seal}})
        try_policy(folder)

    return test.hypothesis.fuzz_one_input


def spaces_target() -> Callable[[bytes], Any]:
    """Descriptions of spaces and policies: refused with an error of ours, or equal after a round trip."""
    policy = PolicySpec(obs_space=Box(-1, 1, (2,)), action_space=Discrete(3), config=resolve({"env": "cartpole"})[0].policy)
    known = [Box(0, 255, (2, 2), "uint8"), Box([0, -np.inf], [np.inf, 1]), Discrete(4, start=-1), MultiDiscrete([2, 3])]
    known.append(Dict({"a": Tuple([known[0], Discrete(2)]), "b": Dict({"c": known[1]})}))
    known.append(Mixed(MultiDiscrete([2, 3]), Box(-1, 1, (2,))))

    @quick
    @given(st.one_of(*(spoilt(space.to_json()) for space in known), anything), spoilt(policy.to_json()))
    def test(values: Any, described: Any) -> None:
        try:
            space = from_json(values)
        except PufferError:
            pass
        else:
            again = from_json(json.loads(json.dumps(space.to_json())))
            assert again == space
            assert fingerprint(again) == fingerprint(space)
        try:
            spec = PolicySpec.from_json(described)
        except PufferError:
            return
        assert PolicySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec

    return test.hypothesis.fuzz_one_input


def small_run(**options: Any) -> tuple[dict[str, Any], Path]:
    """Settings of a run of two environments, and its checkpoint after two updates."""
    small = {"train.num_envs": 2, "ppo.horizon": 4, "ppo.minibatch": 8, "ppo.epochs": 1, "policy.hidden": [4]} | options
    return small, train("cartpole", timesteps=16, options=small, out=str(WORK)).checkpoint


def state_target() -> Callable[[bytes], Any]:
    """`state.json` under a manifest that vouches for it: a run goes on from it, or is refused with an error of ours."""
    _, folder = small_run(**{"train.evaluate_every": 8, "train.evaluate_episodes": 1})
    path, manifest = folder / files.STATE, json.loads((folder / files.MANIFEST).read_bytes())
    values = json.loads(path.read_bytes())
    fixed = {"out": str(WORK / "more"), "backend": "native", "env": "cartpole"}  # what is under test are not the settings

    @quick
    @given(spoilt({name: value for name, value in values.items() if name != "settings"}))
    def test(content: Any) -> None:
        content = json.dumps(content | {"settings": values["settings"]} if isinstance(content, dict) else content).encode()
        path.write_bytes(content)
        seal = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        reseal(folder, manifest | {"files": manifest["files"] | {path.name: seal}})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = train(resume=folder, timesteps=24, options=fixed)
            except PufferError:
                return
            finally:
                shutil.rmtree(WORK / "more", ignore_errors=True)
        assert result.summary["steps"] >= 24

    return test.hypothesis.fuzz_one_input


def bundle_target() -> Callable[[bytes], Any]:
    """Bundles of runs that NaN stopped: refused, or what was under way raises the same error, or all is finite."""
    small, _ = small_run()
    try:
        train("cartpole", options=small | {"ppo.learning_rate": 1e30, "ppo.max_grad_norm": 0.0}, out=str(WORK / "nan"))
    except NonFiniteError:
        folder = next(WORK.glob("nan/*/nonfinite"))
    record, segment = (folder / name for name in (nonfinite.RECORD, nonfinite.SEGMENT))
    values, tensors = json.loads(record.read_bytes()), segment.read_bytes()
    intact = {path: path.read_bytes() for path in (record, segment)}
    patched = st.builds(
        lambda at, patch: tensors[:at] + patch + tensors[at + len(patch) :], st.integers(0, len(tensors)), st.binary(max_size=9)
    )

    @quick
    @given(st.one_of(st.binary(max_size=400), spoilt(values)), patched, st.booleans())
    def test(content: bytes | dict[str, Any], data: bytes, vouched: bool) -> None:
        if isinstance(content, dict) and vouched:
            content = content | {"segment": hashlib.sha256(data).hexdigest()}
        segment.write_bytes(data)
        record.write_bytes(content if isinstance(content, bytes) else files.seal(content))
        try:
            replay(folder)
        except NonFiniteError:
            assert isinstance(content, dict) or content == intact[record]
        except PufferError:
            return
        assert vouched or data == tensors

    return test.hypothesis.fuzz_one_input


TARGETS = {
    "config": config_target,
    "manifest": manifest_target,
    "safetensors": safetensors_target,
    "spaces": spaces_target,
    "state": state_target,
    "bundle": bundle_target,
}


if __name__ == "__main__":
    try:
        atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]]())
        atheris.Fuzz()
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
