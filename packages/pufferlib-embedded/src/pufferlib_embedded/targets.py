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
PLENTY = 1 << 26  # bytes; a footprint is measured where everything fits
# What freestanding objects may leave to the compiler's own library: copies, and arithmetic that a core lacks.
COMPILERS_OWN = re.compile(r"memcpy|memset|memmove|__aeabi_\w+|__[a-z]+([sdi][fi]){1,2}[23]?")
TIMEOUT = 120  # seconds for one program


@dataclass(frozen=True, kw_only=True)
class Family:
    """Processors that share compiler, emulator and the file of their port, `test/port_<name>.c`."""

    name: str
    prefix: str  # of the compiler and its tools
    emulator: str
    specs: str  # of a C library, which serves memcpy alone
    packages: str
    flash_at: int = 0  # addresses of what the emulated machine has
    ram_at: int = 0


CORTEX_M = Family(
    name="cortex_m", prefix="arm-none-eabi-", emulator="qemu-system-arm", specs="nano.specs", ram_at=0x20000000,
    packages="gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm",
)  # fmt: skip
RV32 = Family(
    name="rv32", prefix="riscv64-unknown-elf-", emulator="qemu-system-riscv32", specs="picolibc.specs",
    packages="gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-misc",
    flash_at=0x80000000, ram_at=0x84000000,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind of device. `mac_cycles` is rough, and of no measurement on hardware: of a multiplication with its addition."""

    name: str
    about: str
    flags: tuple[str, ...] = ()
    family: Family | None = None  # None: the host itself
    machine: tuple[str, ...] = ()  # of QEMU, and its options
    hertz: int = 0  # of the clock that the machine's SysTick counts; 0 where it is not one
    flash: int = 0  # bytes of the device; 0: no limit
    ram: int = 0
    machine_flash: int = 0  # bytes of what QEMU emulates
    machine_ram: int = 0
    mac_cycles: int = 0


def _cortex(name: str, about: str, machine: str, cpu: str, **more: Any) -> Target:
    flags = ("-mthumb", f"-mcpu={cpu}", *more.pop("fpu", ()))
    return Target(name=name, about=about, family=CORTEX_M, machine=(machine,), flags=flags, **more)


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
        Target(
            name="rv32", about="ESP32-C3 (RV32IMC), 4 MiB of flash, 400 KiB of memory", family=RV32,
            machine=("virt", "-bios", "none"), flags=("-march=rv32imc", "-mabi=ilp32", "-mcmodel=medany"),
            flash=4 << 20, ram=400 << 10, machine_flash=4 << 20, machine_ram=4 << 20, mac_cycles=340,
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
    family = target.family
    if family is not None:
        names = {kind: f"{family.prefix}{tool}" for kind, tool in (("cc", "gcc"), ("nm", "nm"), ("size", "size"))}
        names["run"], packages = family.emulator, family.packages
    else:
        names, packages = {"cc": "cc", "nm": "nm"}, "gcc"
    found = {kind: shutil.which(name) for kind, name in names.items()}
    missing = [names[kind] for kind, path in found.items() if path is None]
    if missing:
        raise RunError(
            f"{', '.join(missing)} is not installed, and nothing is exported that was not compiled and run for {target.name}: "
            f"apt-get install {packages}; or --unverified"
        )
    return {kind: path for kind, path in found.items() if path is not None}


def port(target: Target, folder: str, flash: int, ram: int) -> list[str]:
    """What a program needs of its machine, for the compiler: sources and linker script of `folder`, and sizes in bytes."""
    family = target.family
    if family is None:
        return [f"{folder}/port_host.c"]
    places = {"FLASH_AT": family.flash_at, "FLASH_BYTES": flash, "RAM_AT": family.ram_at, "RAM_BYTES": ram}
    return [
        f"{folder}/port_device.c", f"{folder}/port_{family.name}.c", f"-DPORT_HZ={target.hertz}u", "-nostartfiles",
        f"--specs={family.specs}", "-Wl,--gc-sections", f"-T{folder}/device.ld",
        *(f"-Wl,--defsym={name}={value:#x}" for name, value in places.items()),
    ]  # fmt: skip


def reported(target: Target, program: str, folder: Path) -> dict[str, int]:
    """Runs a program on the target; the numbers that it reports.

    Raises:
        RunError: if its exit status is not 0.
    """
    command = [program]
    if target.machine:
        command = [
            tools(target)["run"], "-M", *target.machine, "-icount", "shift=5,align=off,sleep=off", "-display", "none",
            "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel", program,
        ]  # fmt: skip
    return {name: int(value) for name, value in (line.split() for line in run(command, folder).splitlines())}


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
        command = [self.tools["cc"], *FLAGS, *self.target.flags, "-Isrc", "-Itest", *flags, *sources, *self._objects]
        run([*command, *port(self.target, "test", flash, ram), "-o", out], self.folder)
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

    def test(self, *sources: str, include: str = "test") -> dict[str, int]:
        """Runs a program of these sources, which may include files of one more folder; the numbers that it reports.

        Raises:
            RunError: if it does not compile, or its exit status is not 0.
        """
        size = self.target.machine_flash, self.target.machine_ram
        return reported(self.target, self.link(Path(sources[0]).stem, sources, *size, f"-I{include}"), self.folder)

    def versions(self) -> dict[str, str]:
        """First lines of what compiler and emulator say of themselves."""
        named = {"compiler": self.tools["cc"], "emulator": self.tools.get("run", "")}
        return {kind: run([path, "--version"], self.folder).splitlines()[0] for kind, path in named.items() if path}
