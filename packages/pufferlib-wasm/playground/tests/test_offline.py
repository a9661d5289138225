"""The service worker: the page without a network, and a version after it."""

import base64
import hashlib
import json
import shutil
import struct
from pathlib import Path

import pytest
from playwright.sync_api import expect

DIST = Path(__file__).resolve().parent.parent / "dist"
STEPS = "[data-number=steps] output"
CACHES = "async () => (await caches.keys()).sort()"
CONTROLLED = "() => navigator.serviceWorker.controller !== null"
READY = "A new version of this page is ready"


def digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@pytest.fixture
def folder(tmp_path):
    """A copy of the page in a folder of a site."""
    return shutil.copytree(DIST, tmp_path / "site/play").parent


def renew(folder, title):
    """Another build of the page takes the place of the one before, as `npm run build` leaves it."""
    page, worker = folder / "play/index.html", folder / "play/sw.js"
    before = page.read_bytes()
    after = before.replace(b"<title>", f"<title>{title} ".encode())
    page.write_bytes(after)
    script = worker.read_text()
    assert script.count(digest(before)) == 1
    worker.write_text(script.replace(digest(before), digest(after)))
    version = [word for word in script.split('"') if len(word) == 44 and word.endswith("=")]
    assert len(version) == 1
    worker.write_text(worker.read_text().replace(version[0], digest(after)))


def step(page, total):
    page.click("#step")
    expect(page.locator(STEPS)).to_have_text(f"{total:,}")


def test_the_page_works_without_a_network(opened, serve, folder):
    server = serve(folder)
    page = opened(at=server.address + "play/")
    page.wait_for_function(CONTROLLED)
    server.stop()
    page.reload()
    page.wait_for_selector("[data-state=ready]")
    assert page.evaluate("crossOriginIsolated")
    assert page.input_value("#threads") == "2"
    step(page, 2048)
    page.click("#train")
    page.wait_for_selector("[data-state=training]")
    page.goto(server.address + "play/index.html")  # another name of the page
    page.wait_for_selector("[data-state=ready]")


def test_a_new_version_waits_for_a_person(opened, serve, folder):
    server = serve(folder)
    page = opened(at=server.address + "play/")
    page.wait_for_function(CONTROLLED)
    (first,) = page.evaluate(CACHES)
    page.select_option("#env", "mountain_car")  # a long run
    step(page, 256)
    renew(folder, "second")
    page.evaluate("async () => (await navigator.serviceWorker.ready).update()")
    expect(page.get_by_text(READY)).to_be_visible()
    page.click("#train")  # the run goes on, and what it fetches is what it was begun with
    page.wait_for_selector("[data-state=training]")
    assert "<title>second" not in page.evaluate("fetch('./').then((page) => page.text())")
    page.click("#train")
    page.wait_for_selector("[data-state=paused]")
    assert float(page.locator(STEPS).inner_text().replace(",", "")) > 256
    assert len(page.evaluate(CACHES)) == 2
    page.reload()  # is no consent
    page.wait_for_selector("[data-state=ready]")
    assert not page.title().startswith("second")

    other = page.context.new_page()
    other.goto(server.address + "play/")
    other.wait_for_selector("[data-state=ready]")
    page.get_by_role("button", name="Reload").click()
    expect(page.get_by_text("open in other tabs too")).to_be_visible()
    assert first in page.evaluate(CACHES)
    other.close()

    with page.expect_navigation():
        page.get_by_role("button", name="Reload").click()
    page.wait_for_selector("[data-state=ready]")
    assert page.title().startswith("second")
    expect(page.get_by_text(READY)).to_be_hidden()
    (second,) = page.evaluate(CACHES)
    assert second != first
    server.stop()
    page.reload()
    page.wait_for_selector("[data-state=ready]")
    assert page.title().startswith("second")


def test_half_a_version_is_not_kept(opened, serve, folder):
    server = serve(folder)
    page = opened(at=server.address + "play/")
    page.wait_for_function(CONTROLLED)
    renew(folder, "second")
    (folder / "play/puffer.wasm").write_bytes(b"of another build")
    failed = page.evaluate(
        """async () => {
            const registration = await navigator.serviceWorker.ready;
            const next = await registration.update().then(({ installing, waiting }) => installing ?? waiting, () => null);
            if (!next) return true;
            await new Promise((done) => next.addEventListener("statechange", () => next.state !== "installing" && done()));
            return next.state === "redundant";
        }"""
    )
    assert failed
    page.reload()
    page.wait_for_selector("[data-state=ready]")
    assert not page.title().startswith("second")
    step(page, 2048)


def test_it_leaves_an_address_at_which_something_else_is(opened, serve, folder, tmp_path):
    server = serve(folder)
    page = opened(at=server.address + "play/")
    page.wait_for_function(CONTROLLED)
    (tmp_path / "else/play").mkdir(parents=True)
    (tmp_path / "else/play/index.html").write_text("<title>else</title><link rel=icon href=data:,>")
    server.folder = tmp_path / "else"
    page.reload()
    page.wait_for_function("navigator.serviceWorker.getRegistration().then((registration) => !registration)")
    page.reload()  # the worker may have shown it already, if the page was there in time
    page.wait_for_function("document.title === 'else'")


def test_other_pages_of_its_folder_are_left_alone(opened, serve, folder):
    (folder / "play/export").mkdir()
    (folder / "play/export/index.html").write_text("<title>exported</title><link rel=icon href=data:,>")
    server = serve(folder)
    page = opened(at=server.address + "play/")
    page.wait_for_function(CONTROLLED)
    page.goto(server.address + "play/export/")
    assert page.title() == "exported"
    kept = """async () => {
        const [name] = await caches.keys();
        return (await (await caches.open(name)).keys()).map(({ url }) => url);
    }"""
    files = [path.relative_to(DIST).as_posix() for path in DIST.rglob("*") if path.is_file()]
    names = [name for name in files if name != "sw.js" and not name.endswith(".html")]
    assert sorted(page.evaluate(kept)) == sorted(server.address + "play/" + name for name in ["", *names])


def test_the_manifest_is_one_that_can_be_installed(chromium, site, tmp_path):
    kind, how = chromium
    context = kind.launch_persistent_context(tmp_path, **how)  # the others are incognito, which installs nothing
    page = context.new_page()
    page.goto(site)
    devtools = context.new_cdp_session(page)
    told = devtools.send("Page.getAppManifest")
    assert told["errors"] == []
    manifest = json.loads(told["data"])
    assert manifest["name"] == "pufferlib playground"
    assert told["url"].endswith("/manifest.webmanifest")
    assert manifest["start_url"] == manifest["scope"] == "./"
    for icon in manifest["icons"]:
        data = (DIST / icon["src"]).read_bytes()
        if icon["type"] == "image/png":
            width, height = struct.unpack(">II", data[16:24])
            assert f"{width}x{height}" == icon["sizes"]
    page.wait_for_function(CONTROLLED)
    assert devtools.send("Page.getInstallabilityErrors")["installabilityErrors"] == []
    context.close()


def test_an_address_that_is_not_secure(opened, serve):
    """There the browser has neither service workers nor shared memory, and the page trains all the same."""
    page = opened(at=serve(isolated=False).address.replace("127.0.0.1", "puffer.test"))
    assert page.evaluate("[isSecureContext, 'serviceWorker' in navigator]") == [False, False]
    step(page, 2048)
