# SPDX-License-Identifier: GPL-2.0-only
"""Mappings held by others: children, grandchildren, threads, processes that die or exec."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from conformance.model.layout import PAGE
from conformance.suite.conftest import Find
from conformance.suite.support.mappings import Mappings
from conformance.vfio.children.children import sleeping_program
from conformance.vfio.device import Device

T = TypeVar("T")


@pytest.mark.rule("saving.exact.fork-parent-first")
def test_fork_parent_first(mappings: Mappings, window: Find) -> None:
    """Fork, unmap in the parent, then in the child: it counts until the child's goes."""
    held = mappings.map(window("C"))
    child = mappings.fork()
    mappings.judge("a child inherited the mapping")
    mappings.munmap(held)
    mappings.judge("the parent unmapped")
    mappings.munmap(mappings.inherited(held, child))
    mappings.judge("the child unmapped")


@pytest.mark.rule("saving.exact.fork-child-first")
def test_fork_child_first(mappings: Mappings, window: Find) -> None:
    """Fork, unmap in the child, then in the parent: it counts until the parent's goes."""
    held = mappings.map(window("C"))
    child = mappings.fork()
    mappings.munmap(mappings.inherited(held, child))
    mappings.judge("the child unmapped")
    mappings.munmap(held)
    mappings.judge("the parent unmapped")


@pytest.mark.rule("saving.exact.fork-parent-first")
def test_fork_and_unmap_in_pieces(mappings: Mappings, window: Find) -> None:
    """Fork, unmap one piece in the parent and another in the child: judged to the page."""
    held = mappings.map(window("fC", "CC"))
    child = mappings.fork()
    there = mappings.inherited(held, child)
    mappings.munmap(held, PAGE, PAGE)
    mappings.judge("the parent unmapped the page outside")
    mappings.munmap(there, 0, PAGE)
    mappings.judge("the child unmapped the other one")
    mappings.munmap(there, PAGE, PAGE)
    mappings.judge("the child unmapped the page outside")


@pytest.mark.rule("saving.exact.fork-child-first")
def test_fork_after_a_partial_munmap(mappings: Mappings, window: Find) -> None:
    """Unmap the page outside, fork: the child inherits no conflict."""
    held = mappings.map(window("fC", "CC"))
    mappings.munmap(held, PAGE, PAGE)
    child = mappings.fork()
    mappings.judge("a child inherited what was left")
    mappings.munmap(held)
    mappings.munmap(mappings.inherited(held, child), 0, PAGE)
    mappings.judge("both unmapped it")


@pytest.mark.rule("saving.exact.fork-parent-first")
def test_many_children(mappings: Mappings, window: Find) -> None:
    """Fork five children, let them go one by one: it counts until the last has gone."""
    held = mappings.map(window("C"))
    children = [mappings.fork() for _ in range(5)]
    mappings.munmap(held)
    for child in children:
        mappings.judge("some of five children hold it")
        child.exit()
        mappings.ended(child)
    mappings.judge("the last child has gone")


@pytest.mark.rule("saving.exact.grandchild")
def test_grandchild(mappings: Mappings, window: Find) -> None:
    """Fork twice, let parent and child go: it counts while the grandchild alone holds it."""
    held = mappings.map(window("C"))
    child = mappings.fork()
    with mappings.fork(child) as grandchild:
        mappings.munmap(held)
        mappings.judge("the parent unmapped")
        child.exit()
        mappings.ended(child)
        mappings.judge("the child exited")
        mappings.munmap(mappings.inherited(held, grandchild))
        mappings.judge("the grandchild unmapped")


@pytest.mark.rule("saving.exact.vfork-exec")
def test_vfork_exec(mappings: Mappings, window: Find) -> None:
    """Run a program by vfork and exec: it does not hold the mapping, the parent still does."""
    held = mappings.map(window("C"))
    with sleeping_program():
        mappings.judge("a program was executed by a child")
        mappings.munmap(held)
        mappings.judge("the parent unmapped, the program still runs")


@pytest.mark.rule("saving.exact.vfork-exec")
def test_exec_of_the_holder(mappings: Mappings, window: Find) -> None:
    """Map in a child, let it execute a program: the mapping is gone, the process is not."""
    child = mappings.fork()
    mappings.map(window("C"), child)
    mappings.judge("a child maps")
    child.exec()
    mappings.ended(child)
    mappings.judge("the child has executed a program")
    child.kill()


@pytest.mark.rule("saving.exact.passed-descriptor")
def test_passed_descriptor(mappings: Mappings, window: Find, device: Device) -> None:
    """Pass the descriptor over a socket, map there: it counts until unmapped there."""
    child = mappings.fork()
    child.close_fd(device.fd)
    passed = child.send_fd(device.fd)
    held = mappings.map(window("C"), child, fd=passed)
    mappings.judge("a process maps through a passed descriptor")
    child.close_fd(passed)
    mappings.judge("it closed the descriptor")
    mappings.munmap(held)
    mappings.judge("it unmapped")


@pytest.mark.rule("saving.exact.closed-descriptor")
def test_closed_descriptor(mappings: Mappings, window: Find, device: Device) -> None:
    """Map through a second descriptor, close it: the mapping counts until it is unmapped."""
    second = device.open_again()
    held = mappings.map(window("C"), fd=second.fd)
    second.close()
    mappings.judge("the descriptor was closed, the mapping is there")
    mappings.munmap(held)
    mappings.judge("it was unmapped")


@pytest.mark.rule("saving.exact.sigkill")
def test_sigkill(mappings: Mappings, window: Find) -> None:
    """Map in a child, kill it: the mapping is gone with it."""
    child = mappings.fork()
    mappings.map(window("C"), child)
    mappings.judge("a child maps")
    child.kill()
    mappings.ended(child)
    mappings.judge("it was killed")


@pytest.mark.rule("saving.exact.sigkill")
def test_sigkill_of_an_heir(mappings: Mappings, window: Find) -> None:
    """Fork with the mapping, kill the child: the parent's still counts."""
    held = mappings.map(window("C"))
    child = mappings.fork()
    child.kill()
    mappings.ended(child)
    mappings.judge("the child was killed")
    mappings.munmap(held)
    mappings.judge("the parent unmapped")


@pytest.mark.rule("saving.exact.exit")
def test_exit(mappings: Mappings, window: Find) -> None:
    """Map in a child in pieces, let it exit: all of it is gone with it."""
    child = mappings.fork()
    held = mappings.map(window("fCf", "ffC", "CCC"), child)
    mappings.munmap(held, 0, PAGE)
    mappings.judge("a child maps")
    child.exit()
    mappings.ended(child)
    mappings.judge("it exited")


@pytest.mark.rule("saving.exact.threads")
def test_thread_that_ended(mappings: Mappings, window: Find) -> None:
    """Map in a thread that ends, unmap in another: it counts in between."""
    found = window("C")
    held = in_thread(lambda: mappings.map(found))
    mappings.judge("a thread has mapped and ended")
    in_thread(lambda: mappings.munmap(held))
    mappings.judge("another thread has unmapped")


def in_thread(doing: Callable[[], T]) -> T:
    """Run something in a thread of its own and return what it returns."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(doing).result()
