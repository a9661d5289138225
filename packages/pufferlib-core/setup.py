import os
import sys
from concurrent.futures import ThreadPoolExecutor

from setuptools import setup
from setuptools.command.build_ext import build_ext


class ParallelBuild(build_ext):
    """Compiles the C files side by side: setuptools takes them one after the other."""

    def build_extension(self, ext):
        one_by_one = self.compiler.compile

        def compile_all(sources, *args, **kwargs):
            with ThreadPoolExecutor(os.cpu_count() or 1) as workers:
                done = workers.map(lambda source: one_by_one([source], *args, **kwargs), sources)
                return [target for targets in done for target in targets]

        if sys.platform != "win32":
            self.compiler.compile = compile_all
        super().build_extension(ext)


setup(cffi_modules=["build_ffi.py:ffi"], cmdclass={"build_ext": ParallelBuild})
