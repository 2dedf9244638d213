# SPDX-License-Identifier: GPL-2.0-only
"""The driver of the functions, and how another version of it takes its place."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Driver:
    """A driver that is loaded, and another version of it.

    Attributes:
        functions: The folders of its functions in sysfs: all that it has.
        module: Its file.
        other: That of the other version, which has the same name.
        parameters: Those of the module.
        pci: The folder of the PCI bus in sysfs.
    """

    functions: Sequence[Path]
    module: Path
    other: Path
    parameters: Sequence[str] = ()
    pci: Path = Path("/sys/bus/pci")

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Have the other version drive the functions while the block runs; nobody may use them.

        Raises:
            CalledProcessError: The kernel does not take a module, or does not let it go.
            OSError: A function is not let go or not taken.
        """
        self._put(self.other)
        try:
            yield
        finally:
            self._put(self.module)

    def _put(self, module: Path) -> None:
        drivers = {folder: (folder / "driver").resolve() for folder in self.functions}
        name = (drivers[self.functions[0]] / "module").resolve().name
        # What is not on the PCI bus comes and goes with its driver.
        bound = {
            folder: driver
            for folder, driver in drivers.items()
            if driver.is_relative_to(self.pci / "drivers")
        }
        for folder, driver in bound.items():
            (driver / "unbind").write_text(folder.name)
        subprocess.run(["rmmod", name], check=True)
        subprocess.run(["insmod", module, *self.parameters], check=True)
        for folder in bound:  # driver_override still names the driver
            (self.pci / "drivers_probe").write_text(folder.name)
            if not (folder / "driver").exists():
                raise OSError(f"{module.name} does not take {folder.name}")
