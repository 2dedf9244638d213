# SPDX-License-Identifier: GPL-2.0-only
"""Comes up, and serves one order of the host."""

import fcntl
import os
import random
import struct
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from agent import functions, job, module, script, shell, suite, traces
from agent.errors import Failure
from agent.kernel import KernelLog, sysrq
from agent.port import Port

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RNDADDENTROPY, _RNDRESEEDCRNG = 0x40085203, 0x5207
"""From linux/random.h."""
_LOG_LINES = 200
"""Lines of the kernel log that go with an error."""


def main() -> None:
    """Come up, report to the host, and execute its orders."""
    os.environ["PATH"] = _PATH
    port = Port()
    agent = None
    try:
        agent = Agent(port)
        order = agent.await_order()
        if order["order"] == "load":
            job.unpack()
            suite.hold(lambda: _attend(agent))
            order = agent.await_order("the suite cannot be collected")
    except Exception as error:
        port.error("boot", _words(error))
        agent = None
    if agent:
        agent.serve(order)
    _end()


def _attend(agent: "Agent") -> NoReturn:
    """Report that the suite is collected, and serve the order that comes then.

    It is done within the session that has collected it: what runs the suite is a copy of that.
    """
    agent.serve(agent.await_order("the suite is collected"))
    _end()


def _end() -> NoReturn:
    """Switch the machine off."""
    time.sleep(5)  # the host ends the machine as soon as it has heard all
    sysrq("o")
    time.sleep(60)
    os._exit(1)


class Agent:
    """The agent, up and ready. The phases are those of the contract with the host."""

    def __init__(self, port: Port) -> None:
        self._port = port
        lines = Path("/lab/settings").read_text().splitlines()
        self._settings = dict(line.split("=", 1) for line in lines)
        self._software = functions.are_software(self._settings)
        self._functions = [] if self._software else functions.make(self._settings)
        port.phase("boot", " ".join(self._functions))
        job.warm_up()
        self._log = KernelLog()
        self._phase = "order"

    def await_order(self, detail: str = "") -> dict[str, Any]:
        """Say that the guest is ready, and wait for what the host wants done."""
        self._port.phase("ready", detail)
        while (order := self._port.receive())["order"] == "wake":  # does a restored guest live?
            self._port.phase("ready", detail)
        return order

    def serve(self, order: dict[str, Any]) -> None:
        """Do what is ordered, and report what hinders it."""
        _wake(order)
        try:
            self._serve(order)
        except Failure as error:
            self._port.error(self._phase, str(error), self._log.lines()[-_LOG_LINES:])
        except Exception as error:  # its own fault, whatever it was about to do
            words = f"in its phase {self._phase!r}: {_words(error)}"
            self._port.error("agent", words, self._log.lines()[-_LOG_LINES:])
        self._port.phase("done")

    def _serve(self, order: dict[str, Any]) -> None:
        self._begin("plug")
        if not self._software:
            self._functions = self._functions or functions.wait_for(self._settings)
        self._begin("payload")
        todo = job.read()
        self._port.phase("payload", f"{len(todo['pytest_args'])} arguments")
        if order["order"] == "bench":
            self._bench(todo)
            return
        if todo.get("trials"):
            self._try_all(todo)
            return
        if todo["module"]:
            self._put_in_place(todo)
        if order["order"] == "shell":
            self._begin("shell")
            shell.run(order, todo, self._functions)
        elif order["order"] == "script":
            self._begin("script")
            self._port.phase("script-ended", str(script.run(self._port, order, self._functions)))
        elif order["order"] == "programs":
            self._run_programs(order["names"])
        else:
            self._begin("tests")
            self._port.phase("tests")
            status = suite.run(self._port, todo, self._functions, order.get("share", ""))
            self._port.phase("tests-ended", str(status))
        if todo["module"]:
            self._take_away(todo["module"])

    def _bench(self, todo: dict[str, Any]) -> None:
        """Measure one function with the driver against one with plain vfio-pci."""
        *_, plain = self._functions
        self._functions = self._functions[:1]
        self._put_in_place(todo)
        self._begin("plain")
        functions.bind([plain], module.load("vfio_pci"))
        self._log.check("while a function was bound to vfio-pci")
        self._begin("measure")
        self._port.phase("measure")
        status = suite.measure(
            self._port, todo, self._functions[0], plain, self._settings["NETWORK"]
        )
        self._log.check("while it was measured")
        self._port.phase("measured", str(status))
        functions.unbind([plain])
        self._take_away(todo["module"])

    def _run_programs(self, names: list[str]) -> None:
        """Run programs on the first function, each until the kernel reports a fault."""
        for name in names:
            self._begin("programs")
            self._port.phase("program", name)
            argv = [str(job.ROOT / "programs" / name), self._functions[0]]
            status = script.run(self._port, {"argv": argv}, self._functions)
            self._port.phase("program-ended", str(status))
            self._check(f"while {name} ran")

    def _try_all(self, todo: dict[str, Any]) -> None:
        """Judge several builds of a module one after another; none after one left a fault."""
        for trial in todo["trials"]:
            self._port.phase("trial", trial["name"])
            module.replace(todo["module"], trial["name"])
            self._put_in_place(todo)
            self._begin("tests")
            suite.run(self._port, {**todo, "tests": trial["tests"]}, self._functions)
            self._check("while the suite ran")
            self._unload(todo["module"])
            self._port.phase("trial-ended", trial["name"])

    def _put_in_place(self, todo: dict[str, Any]) -> None:
        name = todo["module"]
        self._begin("module")
        parent, kind = todo["mediated"]
        bus = "mdev" if parent else "platform" if self._software else "pci"
        driver = module.load(name, todo["parameters"], bus)
        self._log.check(f"while the module {name} was loaded")
        self._port.phase("module", driver)
        self._begin("bind")
        if parent:
            self._functions = functions.make_mediated(parent, kind, int(self._settings["COUNT"]))
        elif self._software:
            self._functions = functions.of_module(name)
        else:
            functions.bind(self._functions, driver)
        self._log.check("while the functions were bound")
        self._port.phase("bind", " ".join(self._functions))

    def _unload(self, name: str) -> None:
        self._begin("unload")
        if not self._software:
            functions.unbind(self._functions)
        module.unload(name)
        self._log.check(f"while the module {name} was unloaded")
        if self._software:
            functions.expect_gone(self._functions)

    def _take_away(self, name: str) -> None:
        self._unload(name)
        self._port.phase("unload")
        self._begin("leaks")
        traces.send_coverage(self._port)
        traces.look_for_leaks()

    def _check(self, when: str) -> None:
        """Fail, in a phase of its own, if the kernel reported a fault."""
        self._phase = "kernel"
        self._log.check(when)

    def _begin(self, phase: str) -> None:
        self._phase = phase
        self._log.mark()


def _wake(order: dict[str, Any]) -> None:
    """Undo that all guests from a snapshot have its time and draw the same random numbers."""
    time.clock_settime(time.CLOCK_REALTIME, order["time"])
    entropy = bytes.fromhex(order["entropy"])
    with Path("/dev/urandom").open("wb", buffering=0) as device:
        bits = struct.pack("ii", 8 * len(entropy), len(entropy))
        fcntl.ioctl(device, _RNDADDENTROPY, bits + entropy)
        fcntl.ioctl(device, _RNDRESEEDCRNG)
    random.seed()


def _words(error: Exception) -> str:
    """Say in words what happened; what was not foreseen is shown as it is."""
    return str(error) if isinstance(error, Failure) else traceback.format_exc()


if __name__ == "__main__":
    main()
