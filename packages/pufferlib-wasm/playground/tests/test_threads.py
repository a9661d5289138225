"""Workers that share memory where the page is isolated, and one thread elsewhere."""

import zipfile

from playwright.sync_api import Page, expect

STEPS = "[data-number=steps] output"
UPDATE = 64 * 32  # steps of an update of CartPole's preset


def crew(page: Page) -> int:
    """How many workers share the work of the page's own."""
    session = page.context.browser.new_browser_cdp_session()
    targets = session.send("Target.getTargets", {"filter": [{}]})["targetInfos"]
    session.detach()
    return sum("crew-worker" in target["url"] for target in targets)


def expect_crew(page: Page, wanted: int) -> None:
    for _ in range(100):
        if crew(page) == wanted:
            return
        page.wait_for_timeout(50)
    assert crew(page) == wanted


def learnt(page: Page, updates: int, out) -> dict[str, bytes]:
    """Parameters and state of optimiser and environments after so many updates, and what the page shows."""
    for k in range(updates):
        page.click("#step")
        expect(page.locator(STEPS)).to_have_text(f"{(k + 1) * UPDATE:,}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download checkpoint").click()
    download.value.save_as(out)
    with zipfile.ZipFile(out) as files:
        return {name: files.read(name) for name in files.namelist() if name.endswith(".safetensors")}


def test_threads_change_no_bit_and_end_with_their_run(page, tmp_path):
    assert page.evaluate("crossOriginIsolated")
    assert page.input_value("#threads") == "2"
    expect_crew(page, 1)
    two = learnt(page, 5, tmp_path / "two.zip")
    page.select_option("#threads", "1")
    expect(page.get_by_text("Changes are for the next run")).to_be_visible()
    assert crew(page) == 1
    page.click("#restart")
    page.wait_for_selector("[data-state=finished]", timeout=60_000)
    expect_crew(page, 0)

    page.select_option("#env", "acrobot")
    page.select_option("#env", "cartpole")
    page.wait_for_selector("[data-state=ready]")
    one = learnt(page, 5, tmp_path / "one.zip")
    assert len(one) > 0
    assert one == two

    page.select_option("#threads", "2")
    page.click("#restart")
    expect(page.get_by_text("Training in 2 threads")).to_be_visible()
    page.wait_for_selector("[data-state=finished]", timeout=60_000)
    expect_crew(page, 0)
    page.click("#train")  # on
    expect(page.get_by_text("Training in 2 threads")).to_be_visible()
    expect_crew(page, 1)
    page.fill("[id='ppo.minibatch']", "500")  # cannot be made: the run that is there keeps its own
    page.press("[id='ppo.minibatch']", "Tab")
    page.click("#restart")
    expect(page.get_by_text("ppo.minibatch=500 does not divide")).to_be_visible()
    expect_crew(page, 1)


def test_one_thread_and_why(opened, serve):
    page = opened(at=serve(isolated=False).address)
    assert not page.evaluate("crossOriginIsolated")
    expect(page.locator("#threads")).to_contain_text(
        "One thread: memory cannot be shared because the page is not cross-origin isolated"
    )
    page.click("#step")
    expect(page.locator(STEPS)).to_have_text(f"{UPDATE:,}")
    assert crew(page) == 0
    page.get_by_role("tab", name="SIMD").click()
    expect(page.get_by_text("128-bit vectors (SIMD)")).to_be_visible()
    expect(page.get_by_text("threads with vectors")).to_have_count(0)


def test_the_scalar_module_has_one_thread(page):
    page.select_option("#module", "scalar")
    expect(page.locator("#threads")).to_be_hidden()
    expect_crew(page, 0)
    page.select_option("#module", "simd")
    expect(page.locator("#threads")).to_be_visible()
    expect_crew(page, 1)
