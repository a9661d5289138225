import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
PAGES = "pufferlib_wasm/playground"  # built: an sdist carries them, so that a wheel made of it needs no node


sys.path.insert(0, str(HERE / "src"))  # what builds them belongs to the package


def build_pages(out):
    from pufferlib_wasm import page

    page.build_pages(HERE / "playground", out)


class Build(build_py):
    """Compiles modules and pages into the wheel; a checkout makes them when it wants them (`pufferlib_wasm.page.site`)."""

    def run(self):
        if self.editable_mode:
            super().run()
            return
        built, lib = (HERE / "src" / PAGES / "index.html").is_file(), Path(self.build_lib)
        if not built and not (HERE / "playground/package.json").is_file():
            raise SystemExit(f"{HERE}: neither {PAGES} is here nor what it is built of: the sdist is not whole, make it again")
        super().run()
        if not built:
            build_pages(lib / PAGES)
        import pufferlib_wasm
        from pufferlib_wasm.compile import KINDS

        for kind in KINDS:
            pufferlib_wasm.build(lib / "pufferlib_wasm", kind=kind)


class Release(sdist):
    """Builds the pages into the archive."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        build_pages(Path(base_dir) / "src" / PAGES)


setup(cmdclass={"build_py": Build, "sdist": Release})
