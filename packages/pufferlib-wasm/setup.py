import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


class BuildModules(build_py):
    """Compiles the modules into the wheel; a checkout makes them when it wants them (`pufferlib_wasm.build`)."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        sys.path.insert(0, str(HERE / "src"))
        import pufferlib_wasm
        from pufferlib_wasm.compile import KINDS

        for kind in KINDS:
            pufferlib_wasm.build(Path(self.build_lib) / "pufferlib_wasm", kind=kind)


setup(cmdclass={"build_py": BuildModules})
