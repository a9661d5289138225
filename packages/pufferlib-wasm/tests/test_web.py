"""What `puffer export web` refuses; that what it writes plays is tested with the page, in playground/tests."""

import hashlib
import json

import numpy as np
import pytest
from pufferlib_cli.main import main
from pufferlib_core import load_checkpoint, train
from pufferlib_core.checkpoint.files import MANIFEST, STATE, seal, tensor_bytes
from pufferlib_core.errors import CheckpointError, ConfigError, RunError
from pufferlib_wasm import shown, web
from pufferlib_wasm.shown import AGENTS, Shown


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a policy that normalises its observations."""
    out = tmp_path_factory.mktemp("runs")
    return load_checkpoint(train("pendulum", seed=1, timesteps=2048, out=str(out)).checkpoint)


@pytest.fixture
def altered(checkpoint, tmp_path):
    """Writes it again, sealed, with something else in it."""

    def write(*, tensors=None, state=None, **manifest):
        files = {"policy.safetensors": tensor_bytes(tensors or checkpoint.files["policy"])}
        files[STATE] = json.dumps(checkpoint.state if state is None else state).encode()
        listed = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
        said = {name: value for name, value in checkpoint.manifest.items() if name != "digest"}
        files[MANIFEST] = seal(said | {"files": listed} | manifest)
        folder = tmp_path / "altered"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    return write


def with_config(checkpoint, **config):
    policy = checkpoint.manifest["policy"]
    return policy | {"config": policy["config"] | config}


def test_only_what_acting_needs_is_published(checkpoint, tmp_path):
    kept = Shown(checkpoint.path).files()
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    again = load_checkpoint(tmp_path)
    assert sorted(kept) == ["manifest.json", "policy.safetensors", "state.json"]
    assert list(again.files) == ["policy"]
    assert again.state == {"settings": {"pendulum": checkpoint.state["settings"]["pendulum"]}}  # no paths of this machine
    assert again.manifest["space_fingerprint"] == checkpoint.manifest["space_fingerprint"]
    for name, tensor in again.files["policy"].items():
        np.testing.assert_array_equal(tensor, checkpoint.files["policy"][name])
    assert main(["eval", "pendulum", "--checkpoint", str(tmp_path), "--episodes", "2", "--json"]) == 0


def test_environments_that_are_not_in_the_module(altered):
    with pytest.raises(ConfigError, match=r"my_games:SPEC is not in the module, which holds acrobot, .*browser\.md"):
        Shown(altered(env="my_games:SPEC"))


def test_networks_that_no_module_has(altered, checkpoint):
    with pytest.raises(ConfigError, match=r"policy\.module=nets:Wide: this network is a module"):
        Shown(altered(policy=with_config(checkpoint, module="nets:Wide")))


def test_options_that_no_module_has(altered, checkpoint, monkeypatch):
    fields = shown.catalogue([])["structs"]["puf_web_policy_config"]["fields"]
    del fields["obs_clip"]
    monkeypatch.setattr(shown, "catalogue", lambda names: {"structs": {"puf_web_policy_config": {"fields": fields}}})
    Shown(checkpoint.path)  # has the default
    with pytest.raises(ConfigError, match=r"policy\.obs_clip=3\.0: modules of WebAssembly do not have it"):
        Shown(altered(policy=with_config(checkpoint, obs_clip=3.0)))


def test_what_acting_needs_must_be_there(altered, checkpoint):
    tensors = {name: tensor for name, tensor in checkpoint.files["policy"].items() if name != "obs_norm/var"}
    with pytest.raises(CheckpointError, match="lacks obs_norm/var, without which actions would be wrong"):
        Shown(altered(tensors=tensors))


def test_other_spaces(altered, checkpoint):
    state = {"settings": {"pendulum": checkpoint.state["settings"]["pendulum"] | {"max_speed": 5.0}}}
    with pytest.raises(CheckpointError, match="its spaces are not those of pendulum with its settings"):
        Shown(altered(state=state))


def test_what_is_no_checkpoint(altered, tmp_path, capsys):
    def refused(path, told):
        assert main(["export", "web", "--checkpoint", str(path), "--out", str(tmp_path / "out")]) == 1
        assert told in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    refused(tmp_path / "nothing", "there is no such checkpoint or run folder")
    folder = altered()
    (folder / "policy.safetensors").write_bytes((folder / "policy.safetensors").read_bytes()[:-1] + b"\1")
    refused(folder, "its SHA-256 differs from the manifest's: the file is corrupted")
    (folder / MANIFEST).write_text('{"kind": "cake"}')
    refused(folder, "belongs to something else (kind 'cake'")


def test_places_that_are_taken(checkpoint, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(RunError, match="mine exists and is not overwritten: choose another name, or --force"):
        web.export_web(checkpoint.path, tmp_path / "mine")
    with pytest.raises(RunError, match="mine is not an exported policy"):
        web.export_web(checkpoint.path, tmp_path / "mine", force=True)
    with pytest.raises(RunError, match="there is no such folder"):
        web.export_web(checkpoint.path, tmp_path / "no/where")
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"


@pytest.fixture
def played(checkpoint):
    """Some steps of agents that do as the policy here does."""
    one = Shown(checkpoint.path)
    vec = shown.vectorize(one.spec, num_envs=AGENTS, threads=1, seed=0, first_stream=shown.STREAM_EVAL_ENV)
    rows, step = [], vec.reset()
    for _ in range(5):
        action, _, _ = one.reference.act(np.array(step.obs))
        step = vec.step(action)
        rows.append({"obs": step.obs.ravel().tolist(), "action": action.ravel().tolist()})
    vec.close()
    return one, rows


def test_the_proof_finds_another_action(played):
    one, rows = played
    assert one._compare(rows, "simd") == 0.0
    rows[3]["action"][2] += 0.01
    with pytest.raises(RunError, match=r"step 3 in the simd module: it acts .*, the formulas "):
        one._compare(rows, "simd")


def test_the_proof_finds_another_environment(played):
    one, rows = played
    rows[4]["obs"][0] = float(np.nextafter(np.float32(rows[4]["obs"][0]), np.float32(2)))
    with pytest.raises(RunError, match="step 4: pendulum of the simd module is not that of here"):
        one._compare(rows, "simd")


def test_the_proof_finds_another_choice(tmp_path):
    one = Shown(train("catch", seed=1, timesteps=2048, out=str(tmp_path)).checkpoint)
    obs = np.array(shown.vectorize(one.spec, num_envs=AGENTS, threads=1, seed=0).reset().obs)
    best, _, _ = one.reference.act(obs)
    assert one._distance(best, best, obs, None) == 0.0
    assert one._distance(best, (best + 1) % 3, obs, None) > shown.CLOSE


def test_without_node_it_says_so(checkpoint, tmp_path, monkeypatch, capsys):
    """And takes no more of the site than the page reaches."""
    pages = tmp_path / "site"
    (pages / "assets").mkdir(parents=True)
    (pages / "play.html").write_text('<script src="./assets/play-1.js">')
    (pages / "assets/play-1.js").write_text('new Worker("playing-2.js")')
    (pages / "assets/playing-2.js").write_text("self")
    (pages / "assets/index-3.js").write_text("of another page")
    for name in ("puffer.wasm", "puffer-scalar.wasm"):
        (pages / name).write_bytes(b"\0asm")
    monkeypatch.setattr(web, "site", lambda: pages)
    monkeypatch.setattr(shown.shutil, "which", lambda name: None)
    out = tmp_path / "out"
    arguments = ["export", "web", "--checkpoint", str(checkpoint.path), "--out", str(out)]
    assert main(arguments) == 0
    assert "not played before it was written: node is not installed" in capsys.readouterr().out
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "LICENSE", "assets/play-1.js", "assets/playing-2.js", "checkpoint/manifest.json", "checkpoint/policy.safetensors",
        "checkpoint/state.json", "index.html", "puffer-scalar.wasm", "puffer.wasm", "report.json",
    ]  # fmt: skip
    report = json.loads((out / "report.json").read_text())
    assert (report["verified"], report["unverified_because"]) == (False, "node is not installed")
    assert main([*arguments, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(out)
