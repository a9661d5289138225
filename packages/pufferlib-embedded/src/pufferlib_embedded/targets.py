"""Targets: their compilers, what they may hold, and how a program is run on them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pufferlib_core.errors import RunError

FLAGS = ["-std=c99", "-Os", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffp-contract=off", "-ffunction-sections",
         "-fdata-sections", "-g0"]  # fmt: skip
BARE = ["-ffreestanding", "-fno-stack-protector", "-DPUF_FREESTANDING"]
LINK = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections"]
PLENTY = 1 << 26  # bytes; a footprint is measured where everything fits
# What freestanding objects may leave to the compiler's own library: copies, and arithmetic that a core lacks.
COMPILERS_OWN = re.compile(r"memcpy|memset|memmove|__aeabi_\w+")
PACKAGES = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
TIMEOUT = 120  # seconds for one program


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind of device. `mac_cycles` is rough, and of no measurement on hardware: of a multiplication with its addition."""

    name: str
    about: str
    flags: tuple[str, ...] = ()
    machine: str = ""  # of QEMU; empty: the host itself
    hertz: int = 0  # of the clock that the machine's SysTick counts
    flash: int = 0  # bytes of the device; 0: no limit
    ram: int = 0
    machine_flash: int = 0  # bytes of what QEMU emulates
    machine_ram: int = 0
    mac_cycles: int = 0


def _cortex(name: str, about: str, machine: str, cpu: str, **more: Any) -> Target:
    return Target(name=name, about=about, machine=machine, flags=("-mthumb", f"-mcpu={cpu}", *more.pop("fpu", ())), **more)


_MPS2 = {"hertz": 25_000_000, "machine_flash": 4 << 20, "machine_ram": 4 << 20}
TARGETS = {
    target.name: target
    for target in (
        Target(name="host", about="this machine"),
        _cortex(
            "cortex-m0", "BBC micro:bit (nRF51822), 256 KiB of flash, 16 KiB of memory", "microbit", "cortex-m0",
            hertz=16_000_000, flash=256 << 10, ram=16 << 10, machine_flash=256 << 10, machine_ram=16 << 10, mac_cycles=400,
        ),
        _cortex(
            "cortex-m3", "LPC1768, 512 KiB of flash, 64 KiB of memory", "mps2-an385", "cortex-m3",
            flash=512 << 10, ram=64 << 10, mac_cycles=190, **_MPS2,
        ),
        _cortex(
            "cortex-m4f", "nRF52840, 1 MiB of flash, 256 KiB of memory", "mps2-an386", "cortex-m4",
            fpu=("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"), flash=1 << 20, ram=256 << 10, mac_cycles=14, **_MPS2,
        ),
        _cortex(
            "cortex-m7", "STM32F767, 2 MiB of flash, 512 KiB of memory", "mps2-an500", "cortex-m7",
            fpu=("-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"), flash=2 << 20, ram=512 << 10, mac_cycles=8, **_MPS2,
        ),
    )
}  # fmt: skip


def run(command: Sequence[str], cwd: Path) -> str:
    """All output of a command.

    Raises:
        RunError: if it cannot be run, fails or does not end.
    """
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=TIMEOUT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{command[0]}: {error}; nothing is written") from error
    if done.returncode:
        raise RunError(f"{command[0]} ended with status {done.returncode}, nothing is written:\n{done.stdout[-2000:]}")
    return done.stdout


def tools(target: Target) -> dict[str, str]:
    """Paths of compiler, nm, size and emulator.

    Raises:
        RunError: if one is not installed.
    """
    if target.machine:
        names = {"cc": "arm-none-eabi-gcc", "nm": "arm-none-eabi-nm", "size": "arm-none-eabi-size", "run": "qemu-system-arm"}
        how = PACKAGES
    else:
        names, how = {"cc": "cc", "nm": "nm"}, "apt-get install gcc"
    found = {kind: shutil.which(name) for kind, name in names.items()}
    missing = [names[kind] for kind, path in found.items() if path is None]
    if missing:
        raise RunError(
            f"{', '.join(missing)} is not installed, and nothing is exported that was not compiled and run for {target.name}: "
            f"{how}; or --unverified"
        )
    return {kind: path for kind, path in found.items() if path is not None}


class Build:
    """Objects and programs of an exported folder, in a folder of their own.

    Args:
        target: what they are for.
        folder: that of the export.
        work: where results go.
    """

    def __init__(self, target: Target, folder: Path, work: Path) -> None:
        self.target, self.folder, self.work, self.tools = target, folder, work, tools(target)
        self._objects: list[str] = []

    def objects(self) -> list[str]:
        """Compiles what goes to a device; returns the symbols that it leaves to the compiler's own library.

        Raises:
            RunError: if it does not compile, or leaves other symbols.
        """
        for source in sorted(str(path.relative_to(self.folder)) for path in self.folder.glob("src/*.c")):
            out = str(self.work / f"{Path(source).stem}.o")
            run([self.tools["cc"], *FLAGS, *BARE, *self.target.flags, "-Isrc", "-c", source, "-o", out], self.folder)
            self._objects.append(out)
        lines = [line.split() for line in run([self.tools["nm"], "-g", *self._objects], self.folder).splitlines()]
        defined = {words[-1] for words in lines if len(words) == 3}
        undefined = sorted({words[1] for words in lines if len(words) == 2 and words[0] == "U"} - defined)
        strange = [name for name in undefined if not COMPILERS_OWN.fullmatch(name) and name != "_GLOBAL_OFFSET_TABLE_"]
        if strange:
            raise RunError(f"the exported C needs {', '.join(strange)}, which a device does not have; nothing is written")
        return undefined

    def link(self, name: str, sources: Sequence[str], flash: int, ram: int, *flags: str) -> str:
        """A program of these sources and the policy's objects; returns its path."""
        out = str(self.work / name)
        port = ["test/port_host.c"]
        if self.target.machine:
            port = ["test/port_cortex_m.c", *LINK, "-Ttest/cortex_m.ld"]
            port += [f"-DPORT_HZ={self.target.hertz}u", f"-Wl,--defsym=FLASH_BYTES={flash},--defsym=RAM_BYTES={ram}"]
        command = [self.tools["cc"], *FLAGS, *self.target.flags, "-Isrc", "-Itest", *flags, *sources, *self._objects, *port]
        run([*command, "-o", out], self.folder)
        return out

    def footprint(self) -> tuple[int, int]:
        """Bytes of flash, and of memory but for the stack, that the policy takes of a device."""
        sizes = []
        for flags in ([], ["-DPOLICY_LEFT_OUT"]):
            program = self.link("footprint", ["test/footprint.c"], PLENTY, PLENTY, *flags)
            said = run([self.tools["size"], program], self.folder).splitlines()[1]
            text, data, bss = (int(word) for word in said.split()[:3])
            sizes.append((text + data, data + bss))
        (flash, ram), (no_flash, no_ram) = sizes
        return flash - no_flash, ram - no_ram

    def test(self) -> dict[str, int]:
        """Repeats the golden vectors; what the test program reports.

        Raises:
            RunError: if a number is not the golden one.
        """
        sources = ["test/test_policy.c", "test/golden.c"]
        program = self.link("test_policy", sources, self.target.machine_flash, self.target.machine_ram)
        command = [program]
        if self.target.machine:
            command = [
                self.tools["run"], "-M", self.target.machine, "-icount", "shift=5,align=off,sleep=off", "-display", "none",
                "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel", program,
            ]  # fmt: skip
        said = run(command, self.folder)
        return {name: int(value) for name, value in (line.split() for line in said.splitlines())}

    def versions(self) -> dict[str, str]:
        """First lines of what compiler and emulator say of themselves."""
        named = {"compiler": self.tools["cc"], "emulator": self.tools.get("run", "")}
        return {kind: run([path, "--version"], self.folder).splitlines()[0] for kind, path in named.items() if path}
