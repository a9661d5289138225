import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pufferlib_core import load_checkpoint

UPDATE = 64 * 32  # steps of an update of CartPole's preset
PICTURES = Path(__file__).resolve().parents[4] / "build/playground"


def number(page: Page, name: str) -> float:
    """One of the numbers that the page shows of a run."""
    return float(page.locator(f"[data-number={name}] output").inner_text().replace(",", ""))


def state(page: Page, wanted: str, seconds: float = 30) -> None:
    page.wait_for_selector(f"[data-state={wanted}]", timeout=1000 * seconds)


def drawn(page: Page) -> str:
    """What the canvas in sight shows."""
    return page.locator("canvas.stage:visible").evaluate("canvas => canvas.toDataURL()")


def colors(page: Page) -> int:
    """How many colours it has."""
    return page.locator("canvas.stage:visible").evaluate(
        """canvas => {
            const { width, height } = canvas, often = { willReadFrequently: true };
            const copy = new OffscreenCanvas(width, height).getContext("2d", often);
            copy.drawImage(canvas, 0, 0);
            return new Set(new Uint32Array(copy.getImageData(0, 0, width, height).data.buffer)).size;
        }"""
    )


def choose(page: Page, env: str) -> None:
    page.select_option("#env", env)
    expect(page.locator("[data-state=ready]")).to_be_visible()


def puffer(*arguments: str) -> dict:
    """What a command prints."""
    command = [sys.executable, "-m", "pufferlib_cli", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cartpole_is_learnt_while_agents_are_seen(page):
    begin = time.monotonic()
    first = drawn(page)
    page.click("#train")
    state(page, "finished", 60)
    assert time.monotonic() - begin < 60
    assert number(page, "return") >= 475
    assert number(page, "steps") <= 100_000 + UPDATE
    assert drawn(page) != first
    assert colors(page) > 4  # track, cart, pole, axle, paper
    assert page.locator(".plot").get_attribute("aria-label").startswith("mean return of the last 100 episodes: 4")
    page.get_by_role("button", name="Evaluate 100 episodes").click()
    expect(page.get_by_text("100 episodes, greedy: return")).to_be_visible(timeout=20_000)
    page.click("#train")  # on, for as many steps again
    state(page, "training")
    assert number(page, "steps") > 0


def test_a_run_waits_steps_and_begins_again(page):
    choose(page, "mountain_car")  # a long run, of updates of 16 x 16 steps
    page.click("#step")
    page.click("#step")
    expect(page.locator("[data-number=steps] output")).to_have_text("512")
    page.click("#train")
    state(page, "training")
    page.fill("#seed", "9")
    page.press("#seed", "Tab")
    expect(page.get_by_text("Changes are for the next run")).to_be_visible()
    page.click("#train")
    state(page, "paused")
    steps = number(page, "steps")
    page.wait_for_timeout(300)
    assert number(page, "steps") == steps >= 512
    page.click("#restart")
    state(page, "training")
    expect(page.get_by_text("Changes are for the next run")).to_be_hidden()
    page.select_option("#env", "bandit")  # in the middle of a run
    state(page, "ready")
    page.wait_for_timeout(200)
    assert number(page, "steps") == 0


def test_a_checkpoint_goes_to_python_and_comes_back(page, tmp_path):
    page.click("#step")
    page.click("#step")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download checkpoint").click()
    zipped = tmp_path / download.value.suggested_filename
    download.value.save_as(zipped)
    assert zipped.name == f"cartpole-{2 * UPDATE}.zip"
    zipfile.ZipFile(zipped).extractall(tmp_path)
    told = puffer("train", "--resume", str(tmp_path / zipped.stem), "--timesteps", str(6 * UPDATE), "--out", str(tmp_path))
    theirs = Path(told["checkpoint"])
    assert (told["steps"], load_checkpoint(theirs).state["episodes"]["count"] > 0) == (6 * UPDATE, True)

    page.set_input_files("#file", sorted(theirs.iterdir()))
    expect(page.get_by_text(f"A checkpoint after {6 * UPDATE} steps")).to_be_visible()
    assert page.input_value("[id='train.timesteps']") == str(6 * UPDATE)
    page.click("#train")  # all its steps are done: on, for as many again
    expect(page.locator("[data-number=steps] output")).to_have_text(f"{12 * UPDATE:,}", timeout=30_000)

    page.set_input_files("#file", zipped)  # a zip, of a run that has not ended
    expect(page.get_by_text(f"A checkpoint after {2 * UPDATE} steps")).to_be_visible()
    page.click("#step")
    expect(page.locator("[data-number=steps] output")).to_have_text(f"{3 * UPDATE:,}")


def test_a_checkpoint_is_dropped_on_the_page(page, tmp_path):
    told = puffer("train", "cartpole", "--timesteps", "4096", "--out", str(tmp_path))
    zipped = tmp_path / "run.zip"
    with zipfile.ZipFile(zipped, "w") as out:  # a whole run folder
        for path in sorted(Path(told["run_dir"]).rglob("*")):
            out.write(path, path.relative_to(tmp_path))
    page.evaluate(
        """bytes => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(bytes)], "run.zip"));
            window.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
        }""",
        list(zipped.read_bytes()),
    )
    expect(page.get_by_text("A checkpoint after 4096 steps")).to_be_visible()


def test_what_cannot_go_on_learning_here_plays(page, tmp_path):
    lagging = ("--train.lag", "1", "--ppo.advantage", "vtrace")
    told = puffer("train", "cartpole", "--timesteps", "2048", *lagging, "--out", str(tmp_path))
    page.set_input_files("#file", sorted(Path(told["checkpoint"]).iterdir()))
    expect(page.get_by_text("train.lag=1 needs a thread that collects")).to_be_visible()
    expect(page.locator("#train")).to_be_disabled()
    before = drawn(page)
    page.wait_for_timeout(200)
    assert drawn(page) != before


def test_a_file_that_is_no_checkpoint_is_refused(page, tmp_path):
    (tmp_path / "half.zip").write_bytes(b"PK\3\4")
    page.set_input_files("#file", tmp_path / "half.zip")
    expect(page.get_by_text("half.zip cannot be unpacked")).to_be_visible()
    (tmp_path / "notes.txt").write_text("nothing")
    page.set_input_files("#file", tmp_path / "notes.txt")
    expect(page.get_by_text("there is no manifest.json")).to_be_visible()
    page.click("#train")  # the run is still there
    state(page, "finished", 60)


def test_a_wrong_setting_is_marked(page):
    field = page.locator("[id='ppo.minibatch']")
    field.fill("500")
    field.press("Tab")
    expect(page.get_by_text("ppo.minibatch=500 does not divide")).to_be_visible()
    expect(field).to_have_attribute("aria-invalid", "true")
    page.click("#train")  # not with the settings before
    page.wait_for_timeout(100)
    assert number(page, "steps") == 0
    expect(page.get_by_text("ppo.minibatch=500 does not divide")).to_be_visible()
    page.get_by_role("button", name="Back to the preset").click()
    expect(field).to_have_attribute("aria-invalid", "false")
    assert field.input_value() == "512"
    state(page, "ready")


def test_settings_reach_the_run(page):
    page.fill("[id='train.num_envs']", "16")
    page.locator("summary", has_text="Environment").click()
    page.fill("[id='cartpole.max_steps']", "7")
    page.press("[id='cartpole.max_steps']", "Tab")
    page.click("#step")
    expect(page.locator("[data-number=steps] output")).to_have_text(str(16 * 32))
    page.get_by_role("button", name="Download checkpoint").click()
    expect(page.get_by_text("Saved as cartpole-512.zip")).to_be_visible()
    assert number(page, "return") <= 7


def test_every_environment_is_drawn_and_learns(page):
    names = page.eval_on_selector_all("#env option", "options => options.map(one => one.value)")
    assert len(names) >= 10
    for env in names:
        choose(page, env)
        page.click("#step")
        state(page, "paused")
        page.wait_for_timeout(80)
        assert colors(page) > 3, env


def test_keyboard_alone(page):
    page.focus("#env")
    page.keyboard.press("Home")  # acrobot, the first one
    expect(page.locator("[data-state=ready]")).to_be_visible()
    assert page.input_value("#env") == "acrobot"
    page.focus("#train")
    page.keyboard.press("Enter")
    state(page, "training")
    page.keyboard.press("Space")
    state(page, "paused")
    page.get_by_role("tab", name="Watch").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Play")).to_be_focused()
    assert page.locator("[role=tabpanel]:visible").count() == 1
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, select, input:not([type=file])')]"
        ".filter(one => !one.textContent.trim() && !one.ariaLabel && !one.labels?.length).map(one => one.id)"
    )
    assert unnamed == []


def test_focus_is_seen_and_numbers_are_not_announced(page):
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                """() => {
                    const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
                    return [document.activeElement.id, outlineStyle, parseFloat(outlineWidth) >= 2];
                }"""
            )
        )
    assert len({name for name, *_ in seen}) > 8
    assert [one for one in seen if one[1:] != ["solid", True]] == []
    live = "[...document.querySelectorAll('output')].filter((one) => one.ariaLive !== 'off').length"
    assert page.evaluate(live) == 0  # an output is announced at each change otherwise
    assert page.locator(".state").get_attribute("aria-live") == "polite"
    assert page.locator("#notice").get_attribute("role") == "status"


def test_nothing_moves_where_people_want_no_motion(opened):
    page = opened(reduced_motion="reduce")
    expect(page.get_by_label("How fast they are shown")).to_have_value("0")
    page.wait_for_timeout(300)
    before = drawn(page)
    assert colors(page) > 3
    page.wait_for_timeout(200)
    assert drawn(page) == before
    assert page.locator(".fill").first.evaluate("fill => getComputedStyle(fill).transitionDuration") == "0s"
    page.get_by_label("How fast they are shown").select_option("30")
    page.wait_for_timeout(300)
    assert drawn(page) != before


def test_a_person_plays(page):
    choose(page, "catch")
    page.get_by_role("tab", name="Play").click()
    expect(page.get_by_text("It waits for you")).to_be_visible()
    page.locator("canvas.stage:visible").focus()
    for _ in range(9):  # nine steps are an episode
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Episode over: return")).to_be_visible()
    page.get_by_role("button", name="Key right").click()
    expect(page.get_by_text("1 episode, best")).to_be_visible()
    choose(page, "pendulum")  # does not wait
    page.locator("canvas.stage:visible").focus()
    page.keyboard.press("ArrowRight")
    before = drawn(page)
    page.wait_for_timeout(200)
    assert drawn(page) != before


def test_vectors_against_scalars_and_threads(page):
    page.get_by_role("tab", name="SIMD").click()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("2 threads with vectors")).to_be_visible()
    told = page.get_by_text("times as fast here")
    expect(told).to_be_visible(timeout=20_000)
    assert float(told.inner_text().split()[2]) > 1
    assert "and 2 threads" in told.inner_text()
    page.select_option("#module", "scalar")
    page.click("#step")
    expect(page.locator("[data-number=steps] output")).to_have_text(f"{UPDATE:,}")


def test_a_browser_without_vectors_trains_all_the_same(opened):
    page = opened(without="puffer.wasm")
    assert page.eval_on_selector_all("#module option", "options => options.map(one => one.value)") == ["scalar"]
    page.click("#step")
    expect(page.locator("[data-number=steps] output")).to_have_text(f"{UPDATE:,}")
    page.get_by_role("tab", name="SIMD").click()
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_looks(opened, device, theme):
    """Nothing is wider than the screen; pictures lie in build/playground for those who look."""
    page = opened(device, color_scheme=theme)
    page.click("#train")
    state(page, "finished", 60)
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = page.evaluate("[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 36).length")
    assert small == 0
    back = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert back == ("rgb(12, 17, 23)" if theme == "dark" else "rgb(238, 242, 247)")
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{device}-{theme}.png")


def test_a_chosen_theme_stays(page):
    page.get_by_role("button", name="Colours: auto").click()
    page.get_by_role("button", name="Colours: light").click()
    page.reload()
    state(page, "ready")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(12, 17, 23)"
