# SPDX-License-Identifier: GPL-2.0-only
"""The guest's agent: makes the functions, waits for the host, runs the suite, reports.

Everything up to "ready" is the same in every run and ends in a snapshot, so what takes long is
done there: functions are made, and all that the suite imports is loaded. Then the host says what
to do and the payload disk is read for the first time.

Needs the standard library, pytest and python-kmod. Speaks JSON lines on a virtio-serial port.
"""

import base64
import contextlib
import ctypes
import fcntl
import glob
import importlib
import io
import json
import os
import select
import signal
import sys
import tarfile
import termios
import time
import traceback
import struct

PORT = "lab.events"
KIT = "/run/kit"
EVENTS = "/run/events"
OUTPUT = "/run/output"
PAYLOAD = "/dev/vdb"
PLUG_TIMEOUT = 20.0  # seconds; plugging takes one
COVERAGE = "/sys/kernel/debug/gcov"
BLKFLSBUF = 0x1261  # linux/fs.h
# A driver that is out of the tree and unsigned sets O and E; everything from this list is a fault.
TAINTS = {5: "bad page", 7: "oops or BUG", 9: "warning", 14: "soft lockup", 26: "use of a freed object"}
# What the suite and its fixtures use of the standard library.
WARM = """argparse array atexit bisect collections copy ctypes.util dataclasses difflib enum errno
    functools hashlib heapq inspect itertools logging math mmap multiprocessing operator pathlib
    platform pprint queue random re resource shlex shutil socket statistics string subprocess
    tempfile textwrap threading tomllib types typing unittest uuid weakref zlib""".split()


class Failure(Exception):
    """The agent cannot go on; the message is for people."""


class Port:
    """The line to the host."""

    def __init__(self):
        for name in glob.glob("/sys/class/virtio-ports/*/name"):
            if read(name) == PORT:
                self.fd = os.open("/dev/" + name.split("/")[-2], os.O_RDWR)
                return
        raise Failure(f"there is no virtio-serial port named {PORT}")

    def write(self, data):
        """Write bytes, all of them."""
        while data:
            data = data[os.write(self.fd, data) :]

    def send(self, event, **fields):
        """Send one event."""
        self.write(json.dumps({"event": event, **fields}).encode() + b"\n")

    def phase(self, name, detail=""):
        """Say how far the agent got."""
        self.send("agent", phase=name, detail=detail)

    def receive(self):
        """Wait for an order of the host."""
        line = b""
        while not line.endswith(b"\n"):
            data = os.read(self.fd, 4096)
            if not data:  # the host is not connected, for instance while it restores
                time.sleep(0.01)
            line += data
        return json.loads(line)


class KernelLog:
    """The kernel's messages from now on."""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self.mark()

    def mark(self):
        """Forget all that was said so far."""
        os.lseek(self.fd, 0, os.SEEK_END)
        self.taint = int(read("/proc/sys/kernel/tainted"))

    def lines(self):
        """Return what was said since the mark."""
        found = []
        while True:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return found
            except BrokenPipeError:  # overwritten before it was read
                continue
            head, _, text = record.partition(";")
            stamp = int(head.split(",")[2]) / 1e6
            found.append(f"[{stamp:12.6f}] {text.splitlines()[0] if text else ''}")

    def faults(self):
        """Name what the kernel complained of since the mark, by its taint flags."""
        new = int(read("/proc/sys/kernel/tainted")) & ~self.taint
        return [what for bit, what in TAINTS.items() if new >> bit & 1]


def read(path):
    """Return the text of a small file."""
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def write(path, text):
    """Write to a file of the kernel's."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def pci(wanted):
    """Return the folders of all PCI functions which have that vendor:device."""
    found = []
    for folder in sorted(glob.glob("/sys/bus/pci/devices/*")):
        if f"{read(folder + '/vendor')[2:]}:{read(folder + '/device')[2:]}" == wanted:
            found.append(folder)
    return found


def make_functions(settings):
    """Make the virtual functions, without a driver, and return their addresses."""
    if not settings["PHYSICAL"]:
        return []  # the host plugs them before it gives its order
    physical = pci(settings["PHYSICAL"])
    if not physical:
        raise Failure(f"no PCI function {settings['PHYSICAL']} came up")
    write(physical[0] + "/sriov_drivers_autoprobe", "0")
    write(physical[0] + "/sriov_numvfs", settings["COUNT"])
    links = sorted(glob.glob(physical[0] + "/virtfn*"), key=lambda link: int(link.split("virtfn")[1]))
    functions = [os.path.basename(os.path.realpath(link)) for link in links]
    for address in functions:
        if not os.path.exists(f"/sys/bus/pci/devices/{address}/iommu_group"):
            raise Failure(f"{address} is in no IOMMU group: the machine's IOMMU did not come up")
    return functions


def await_functions(settings):
    """Wait for the functions which the host plugs, and return their addresses."""
    deadline = time.monotonic() + PLUG_TIMEOUT
    while time.monotonic() < deadline:
        complete = [one for one in pci(settings["VIRTUAL"]) if os.path.exists(one + "/iommu_group")]
        if len(complete) == int(settings["COUNT"]):
            return [os.path.basename(folder) for folder in complete]
        time.sleep(0.01)
    raise Failure(f"{settings['COUNT']} functions {settings['VIRTUAL']} in IOMMU groups did not come")


def warm_up():
    """Import what a run of the suite will want."""
    for name in WARM:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module("kmod")
    importlib.import_module("pytest")
    for name in importlib.import_module("_pytest.config").default_plugins:
        with contextlib.suppress(ImportError):
            importlib.import_module("_pytest." + name)


def read_payload():
    """Unpack the payload disk and return the job."""
    fd = os.open(PAYLOAD, os.O_RDONLY)
    # The kernel looked for partitions when the disk came up, before the host wrote this payload.
    fcntl.ioctl(fd, BLKFLSBUF)
    options = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
    with open(fd, "rb", buffering=1 << 20) as disk, tarfile.open(fileobj=disk, mode="r|") as tar:
        tar.extractall(KIT, **options)
    with open(KIT + "/job.json", encoding="utf-8") as file:
        return json.load(file)


def load_module(name, log):
    """Load the module under test and return the PCI driver it registers."""
    kmod = sys.modules["kmod"]
    release = os.uname().release
    tree = f"{KIT}/modules/lib/modules/{release}"
    os.makedirs("/lib/modules", exist_ok=True)
    os.symlink(tree, f"/lib/modules/{release}")  # where the suite's own tools look
    try:
        kmod.Kmod(tree.encode()).modprobe(name)
    except kmod.error.KmodError as error:
        raise Failure(f"the kernel does not take the module {name}: {error}") from error
    drivers = [os.path.basename(path) for path in glob.glob(f"/sys/module/{name}/drivers/pci:*")]
    if not drivers:
        raise Failure(f"the module {name} was loaded but registers no PCI driver")
    check(log, f"while the module {name} was loaded")
    return drivers[0].removeprefix("pci:")


def bind(functions, driver, log):
    """Bind each function to the driver."""
    for address in functions:
        folder = f"/sys/bus/pci/devices/{address}"
        write(folder + "/driver_override", driver)
        write("/sys/bus/pci/drivers_probe", address)
        bound = os.path.basename(os.path.realpath(folder + "/driver"))
        if not os.path.exists(folder + "/driver") or bound != driver:
            raise Failure(f"the driver {driver} does not bind to {address}: its probe failed")
    check(log, "while the functions were bound")


def unload(functions, name, log):
    """Unbind the functions and unload the module, as an administrator would."""
    for address in functions:
        folder = f"/sys/bus/pci/devices/{address}"
        if os.path.exists(folder + "/driver"):
            write(folder + "/driver/unbind", address)
        write(folder + "/driver_override", "\n")
    kmod = sys.modules["kmod"]
    try:
        kmod.Kmod().rmmod(name)
    except kmod.error.KmodError as error:
        users = read(f"/sys/module/{name}/refcnt")
        raise Failure(f"the module {name} cannot be unloaded ({error}), users: {users}") from error
    check(log, f"while the module {name} was unloaded")


def send_coverage(port):
    """Send what a module that was built for it has counted of its own execution."""
    for folder, _folders, names in os.walk(COVERAGE):
        for name in names:
            if name.endswith(".gcda"):
                with open(f"{folder}/{name}", "rb") as file:
                    data = base64.b64encode(file.read()).decode()
                port.send("coverage", path=f"{folder.removeprefix(COVERAGE)}/{name}", data=data)


def look_for_leaks():
    """Fail if the kernel has lost memory, on a kernel that can tell."""
    sys.path.insert(0, KIT + "/kit")
    leaks = importlib.import_module("conformance.vfio.leaks")
    if not leaks.missing() and (found := leaks.scan()):
        shown = "\n".join(f"  {leak}" for leak in found[:20])
        raise Failure(f"kmemleak found {len(found)} allocations nobody points to:\n{shown}")


def check(log, when):
    """Fail if the kernel complained since the last mark."""
    if faults := log.faults():
        raise Failure(f"the kernel reported a fault {when}: {', '.join(faults)}")


def run_suite(port, job, functions):
    """Run pytest in a copy of this process and pass its events on."""
    os.mkfifo(EVENTS)
    events = os.open(EVENTS, os.O_RDWR | os.O_NONBLOCK)
    arguments = ["-p", "conformance.plugin", "-p", "no:cacheprovider", *job["tests"]]
    arguments += ["--vfio-device", functions[0], "--vfio-events", EVENTS]
    arguments += ["--vfio-peer", functions[1]] if len(functions) > 1 else []
    for register in job["scratch"]:
        arguments += ["--vfio-scratch", register]
    child = os.fork()
    if child == 0:
        be_pytest(arguments + job["pytest_args"])
    relay(port, events, child, job["quiet"])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError), open(OUTPUT, encoding="utf-8", errors="replace") as file:
        port.send("output", text=file.read()[-200000:])
    if status < 0:
        raise Failure(f"the suite was killed by signal {-status} ({signal.strsignal(-status)})")
    return status


def be_pytest(arguments):
    """Become the process that runs the suite. Does not return."""
    status = 3  # pytest's own number for an internal error
    try:
        os.setpgid(0, 0)
        output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(KIT + "/kit")
        sys.path.insert(0, os.getcwd())
        sys.argv = ["pytest", *arguments]
        status = int(sys.modules["pytest"].main(arguments))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def relay(port, events, child, quiet):
    """Copy events to the host until the child ends; show where it hangs if it is quiet."""
    ended = os.pidfd_open(child)
    shown = False
    while True:
        ready = select.select([events, ended], [], [], quiet)[0]
        if events in ready:
            shown = False
            port.write(os.read(events, 65536))
        elif ended in ready:
            os.close(ended)
            return
        elif not shown:
            shown = True
            show_stacks(child)


def show_stacks(child):
    """Write to the console where the kernel is."""
    say(f"nothing was heard of the suite for a while; process {child} is here:")
    for stack in glob.glob("/proc/[0-9]*/task/*/stack"):
        with contextlib.suppress(OSError):
            folder = os.path.dirname(stack)
            lines = read(stack).splitlines()
            group = read(folder + "/stat").rpartition(")")[2].split()[2]
            if lines and group == str(child):
                say(f"{os.path.basename(folder)} {read(folder + '/comm')}: " + " ".join(lines))
    with contextlib.suppress(OSError):
        write("/proc/sysrq-trigger", "w")


def say(text):
    """Write a line to the kernel's log, and so to the console."""
    for start in range(0, len(text), 800):
        write("/dev/kmsg", f"lab-agent: {text[start : start + 800]}")


def run_shell(port, order, job, functions):
    """Give the user a shell on the console."""
    command = ["python3", "-m", "pytest", "-p", "conformance.plugin", "conformance/suite"]
    command += ["--vfio-device", functions[0], "--vfio-peer", functions[-1]]
    for register in job["scratch"]:
        command += ["--vfio-scratch", register]
    child = os.fork()
    if child == 0:
        os.setsid()
        console = os.open("/dev/ttyS0", os.O_RDWR)
        fcntl.ioctl(console, termios.TIOCSCTTY, 0)
        size = struct.pack("HHHH", order["rows"], order["columns"], 0, 0)
        fcntl.ioctl(console, termios.TIOCSWINSZ, size)
        for fd in range(3):
            os.dup2(console, fd)
        os.chdir(KIT + "/kit")
        env = dict(os.environ, TERM=order["term"], HOME="/root", PS1="lab:\\w# ")
        print(f"{job['module'] or 'No module'} is loaded, functions: {' '.join(functions)}.")
        print("The suite:", " ".join(command))
        print("Leave with exit or Ctrl-D.", flush=True)
        os.execvpe("bash", ["bash", "--norc", "-i"], env)
    os.waitpid(child, 0)
    port.phase("shell", "ended")


def work(port, log, settings, functions, order):
    """Do what the host ordered."""
    time.clock_settime(time.CLOCK_REALTIME, order["time"])  # a snapshot's clock stood still
    step = "plug"
    try:
        functions = functions or await_functions(settings)
        step = "payload"
        job = read_payload()
        port.phase(step, f"{len(job['pytest_args'])} arguments")
        if job["module"]:
            step = "module"
            log.mark()
            driver = load_module(job["module"], log)
            port.phase(step, driver)
            step = "bind"
            log.mark()
            bind(functions, driver, log)
            port.phase(step, " ".join(functions))
        step = order["order"]
        if step == "shell":
            run_shell(port, order, job, functions)
        else:
            step = "tests"
            port.phase(step)
            port.phase("tests-ended", str(run_suite(port, job, functions)))
        if job["module"]:
            step = "unload"
            log.mark()
            unload(functions, job["module"], log)
            port.phase(step)
            send_coverage(port)
            step = "leaks"
            look_for_leaks()
    except Exception as error:
        message = str(error) if isinstance(error, Failure) else traceback.format_exc()
        port.send("agent-error", phase=step, message=message, klog=log.lines()[-200:])
    port.phase("done")


def main():
    """Come up, and serve one order."""
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    port = Port()
    try:
        settings = dict(line.split("=", 1) for line in read("/lab/settings").splitlines())
        functions = make_functions(settings)
        port.phase("boot", " ".join(functions))
        warm_up()
        log = KernelLog()
        port.phase("ready")
        order = port.receive()
        while order["order"] == "wake":  # the host asks whether a restored guest lives
            port.phase("ready")
            order = port.receive()
    except Exception as error:
        message = str(error) if isinstance(error, Failure) else traceback.format_exc()
        port.send("agent-error", phase="boot", message=message, klog=[])
        order = {"order": "none"}
    if order["order"] != "none":
        work(port, log, settings, functions, order)
    time.sleep(5)  # the host ends the machine as soon as it has heard all
    write("/proc/sysrq-trigger", "o")
    time.sleep(60)


if __name__ == "__main__":
    main()
