"""What `puffer export web` writes: proven when it is written, and played by a browser under any address."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect
from pufferlib_core import train
from pufferlib_core.errors import ConfigError
from pufferlib_wasm import shown, web

DIST = Path(__file__).resolve().parents[1] / "dist"
PICTURES = Path(__file__).resolve().parents[4] / "build/playground"
POLICIES = {
    "choices": ("cartpole", {}),
    "numbers, squashed, statistics of observations": ("pendulum", {"policy": {"squash": True}}),
    "a memory": ("memory", {"policy": {"core": "lstm", "core_size": 8}, "ppo": {"minibatch": 512}}),
    "images, settings of its own": (
        "catch",
        {"policy": {"conv": ("4:3:1",), "hidden": (16,)}, "catch": {"rows": 7, "columns": 6}},
    ),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports a policy that has hardly learnt, from the pages under test; gives the folder and its report."""
    made = {}
    patch = pytest.MonkeyPatch()
    patch.setattr(web, "site", lambda: DIST)

    def export(kind):
        if kind not in made:
            env, options = POLICIES[kind]
            folder = tmp_path_factory.mktemp("site")
            run = train(env, seed=1, timesteps=20_000, out=str(folder / "runs"), options=options)
            made[kind] = folder / "demo", web.export_web(run.run_dir, folder / "demo")
        return made[kind]

    yield export
    patch.undo()


@pytest.mark.parametrize("kind", POLICIES)
def test_it_is_proven_before_it_is_there(exported, kind):
    _, report = exported(kind)
    assert (report["verified"], report["rows"], report["modules"]) == (True, shown.AGENTS * shown.STEPS, ["simd", "scalar"])
    assert report["worst"] <= shown.CLOSE


def test_what_the_page_refuses_is_not_written(exported, tmp_path):
    folder, _ = exported("choices")
    one = shown.Shown(folder / "checkpoint")
    state = (folder / "checkpoint/state.json").read_text()
    script = next((folder / "assets").glob("playing-*.js"))
    copy = tmp_path / "playing.mjs"
    copy.write_bytes(script.read_bytes())
    try:
        (folder / "checkpoint/state.json").write_text(state.replace("500", "400"))
        with pytest.raises(ConfigError, match=r"state\.json: its SHA-256 differs"):
            one.prove(folder, copy)
    finally:
        (folder / "checkpoint/state.json").write_text(state)


@pytest.fixture(scope="module")
def served(exported):
    """The folder, below an address of a plain server of files."""
    folder, _ = exported("choices")
    quick = os.environ | {"PYTHONUNBUFFERED": "1"}  # its address at once
    command = [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quick) as server:
        port = server.stdout.readline().split(" port ")[1].split()[0]
        yield f"http://127.0.0.1:{port}/demo/"
        server.terminate()


def drawn(page):
    return page.locator("canvas.stage:visible").evaluate("canvas => canvas.toDataURL()")


@pytest.mark.parametrize(("device", "theme"), [("desktop", "light"), ("phone", "dark")])
def test_the_policy_plays(opened, served, device, theme):
    """Pictures lie in build/playground for those who look."""
    page = opened(device, at=served, color_scheme=theme)
    assert page.title() == "cartpole, played by a policy"
    expect(page.get_by_text("A policy that PPO has trained for 20,480 steps plays.")).to_be_visible()
    before = drawn(page)
    page.wait_for_timeout(300)
    assert drawn(page) != before
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert (
        page.evaluate("[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 36).length") == 0
    )
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"show-{device}-{theme}.png")
    page.get_by_label("How they choose").select_option("greedy")
    page.get_by_label("How many agents").select_option("16")
    page.get_by_role("button", name="Restart").click()
    before = drawn(page)
    page.wait_for_timeout(300)
    assert drawn(page) != before
    assert page.evaluate("navigator.serviceWorker?.getRegistrations().then(all => all.length)") == 0


def test_a_visitor_plays(opened, served):
    page = opened(at=served)
    page.get_by_role("tab", name="You play").click()
    page.locator("canvas.stage:visible").focus()
    for _ in range(12):  # the pole falls
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("1 episode, best")).to_be_visible()
    page.get_by_role("button", name="Restart").click()
    expect(page.get_by_text("It waits for you: each key is one step.")).to_be_visible()


def test_an_engine_without_vectors(opened, served):
    page = opened(at=served, without="puffer.wasm")
    before = drawn(page)
    page.wait_for_timeout(300)
    assert drawn(page) != before


def test_what_is_missing_is_said(browser, served):
    page = browser.new_page()
    page.route("**/checkpoint/state.json", lambda route: route.fulfill(status=404))
    page.goto(served)
    expect(page.get_by_text("The policy cannot be shown: checkpoint/state.json: 404")).to_be_visible()
    page.close()


def test_from_a_file_it_says_what_it_needs(browser, exported):
    page = browser.new_page()
    page.goto((exported("choices")[0] / "index.html").as_uri())
    expect(page.get_by_text("this folder needs a web server")).to_be_visible()
    page.close()
