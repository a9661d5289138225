import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
SITE = "pufferlib_wasm/playground"  # pages and modules: an sdist carries them, so that a wheel made of it needs no node
sys.path.insert(0, str(HERE / "src"))  # what builds them belongs to the package


def build_site(out):
    from pufferlib_wasm import page

    page.build_site(HERE / "playground", out)


class Build(build_py):
    """Builds the site into a wheel from a checkout, which otherwise does so when it wants it (`pufferlib_wasm.page.site`)."""

    def run(self):
        built = self.editable_mode or (HERE / "src" / SITE / "index.html").is_file()
        if not built and not (HERE / "playground/package.json").is_file():
            raise SystemExit(f"{HERE}: neither {SITE} is here nor what it is built of: the sdist is not whole, make it again")
        super().run()
        if not built:
            build_site(Path(self.build_lib) / SITE)


class Release(sdist):
    """Builds the site into the archive."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        build_site(Path(base_dir) / "src" / SITE)


setup(cmdclass={"build_py": Build, "sdist": Release})
