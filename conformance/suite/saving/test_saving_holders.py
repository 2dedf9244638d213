# SPDX-License-Identifier: GPL-2.0-only
"""Mappings held by others: children, grandchildren, threads, processes that die or exec."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from conformance.model.layout import PAGE
from conformance.suite.conftest import Find
from conformance.suite.support.mappings import Book
from conformance.vfio.children.children import sleeping_program
from conformance.vfio.device import Device

T = TypeVar("T")


@pytest.mark.rule("saving.exact.fork-parent-first")
def test_fork_parent_first(book: Book, window: Find) -> None:
    """Fork, unmap in the parent, then in the child: it counts until the child's goes."""
    held = book.map(window("C"))
    child = book.fork()
    book.judge("a child inherited the mapping")
    book.munmap(held)
    book.judge("the parent unmapped")
    book.munmap(book.inherited(held, child))
    book.judge("the child unmapped")


@pytest.mark.rule("saving.exact.fork-child-first")
def test_fork_child_first(book: Book, window: Find) -> None:
    """Fork, unmap in the child, then in the parent: it counts until the parent's goes."""
    held = book.map(window("C"))
    child = book.fork()
    book.munmap(book.inherited(held, child))
    book.judge("the child unmapped")
    book.munmap(held)
    book.judge("the parent unmapped")


@pytest.mark.rule("saving.exact.fork-parent-first")
def test_fork_and_unmap_in_pieces(book: Book, window: Find) -> None:
    """Fork, unmap one piece in the parent and another in the child: judged to the page."""
    held = book.map(window("fC", "CC"))
    child = book.fork()
    there = book.inherited(held, child)
    book.munmap(held, PAGE, PAGE)
    book.judge("the parent unmapped the page outside")
    book.munmap(there, 0, PAGE)
    book.judge("the child unmapped the other one")
    book.munmap(there, PAGE, PAGE)
    book.judge("the child unmapped the page outside")


@pytest.mark.rule("saving.exact.fork-child-first")
def test_fork_after_a_partial_munmap(book: Book, window: Find) -> None:
    """Unmap the page outside, fork: the child inherits no conflict."""
    held = book.map(window("fC", "CC"))
    book.munmap(held, PAGE, PAGE)
    child = book.fork()
    book.judge("a child inherited what was left")
    book.munmap(held)
    book.munmap(book.inherited(held, child), 0, PAGE)
    book.judge("both unmapped it")


@pytest.mark.rule("saving.exact.fork-parent-first")
def test_many_children(book: Book, window: Find) -> None:
    """Fork five children, let them go one by one: it counts until the last has gone."""
    held = book.map(window("C"))
    children = [book.fork() for _ in range(5)]
    book.munmap(held)
    for child in children:
        book.judge("some of five children hold it")
        child.exit()
        book.ended(child)
    book.judge("the last child has gone")


@pytest.mark.rule("saving.exact.grandchild")
def test_grandchild(book: Book, window: Find) -> None:
    """Fork twice, let parent and child go: it counts while the grandchild alone holds it."""
    held = book.map(window("C"))
    child = book.fork()
    with book.fork(child) as grandchild:
        book.munmap(held)
        book.judge("the parent unmapped")
        child.exit()
        book.ended(child)
        book.judge("the child exited")
        book.munmap(book.inherited(held, grandchild))
        book.judge("the grandchild unmapped")


@pytest.mark.rule("saving.exact.vfork-exec")
def test_vfork_exec(book: Book, window: Find) -> None:
    """Run a program by vfork and exec: it does not hold the mapping, the parent still does."""
    held = book.map(window("C"))
    with sleeping_program():
        book.judge("a program was executed by a child")
        book.munmap(held)
        book.judge("the parent unmapped, the program still runs")


@pytest.mark.rule("saving.exact.vfork-exec")
def test_exec_of_the_holder(book: Book, window: Find) -> None:
    """Map in a child, let it execute a program: the mapping is gone, the process is not."""
    child = book.fork()
    book.map(window("C"), child)
    book.judge("a child maps")
    child.exec()
    book.ended(child)
    book.judge("the child has executed a program")
    child.kill()


@pytest.mark.rule("saving.exact.passed-descriptor")
def test_passed_descriptor(book: Book, window: Find, device: Device) -> None:
    """Pass the descriptor over a socket, map there: it counts until unmapped there."""
    child = book.fork()
    child.close_fd(device.fd)
    passed = child.send_fd(device.fd)
    held = book.map(window("C"), child, fd=passed)
    book.judge("a process maps through a passed descriptor")
    child.close_fd(passed)
    book.judge("it closed the descriptor")
    book.munmap(held)
    book.judge("it unmapped")


@pytest.mark.rule("saving.exact.closed-descriptor")
def test_closed_descriptor(book: Book, window: Find, device: Device) -> None:
    """Map through a second descriptor, close it: the mapping counts until it is unmapped."""
    second = device.open_again()
    held = book.map(window("C"), fd=second.fd)
    second.close()
    book.judge("the descriptor was closed, the mapping is there")
    book.munmap(held)
    book.judge("it was unmapped")


@pytest.mark.rule("saving.exact.sigkill")
def test_sigkill(book: Book, window: Find) -> None:
    """Map in a child, kill it: the mapping is gone with it."""
    child = book.fork()
    book.map(window("C"), child)
    book.judge("a child maps")
    child.kill()
    book.ended(child)
    book.judge("it was killed")


@pytest.mark.rule("saving.exact.sigkill")
def test_sigkill_of_an_heir(book: Book, window: Find) -> None:
    """Fork with the mapping, kill the child: the parent's still counts."""
    held = book.map(window("C"))
    child = book.fork()
    child.kill()
    book.ended(child)
    book.judge("the child was killed")
    book.munmap(held)
    book.judge("the parent unmapped")


@pytest.mark.rule("saving.exact.exit")
def test_exit(book: Book, window: Find) -> None:
    """Map in a child in pieces, let it exit: all of it is gone with it."""
    child = book.fork()
    held = book.map(window("fCf", "ffC", "CCC"), child)
    book.munmap(held, 0, PAGE)
    book.judge("a child maps")
    child.exit()
    book.ended(child)
    book.judge("it exited")


@pytest.mark.rule("saving.exact.threads")
def test_thread_that_ended(book: Book, window: Find) -> None:
    """Map in a thread that ends, unmap in another: it counts in between."""
    found = window("C")
    held = in_thread(lambda: book.map(found))
    book.judge("a thread has mapped and ended")
    in_thread(lambda: book.munmap(held))
    book.judge("another thread has unmapped")


def in_thread(doing: Callable[[], T]) -> T:
    """Run something in a thread of its own and return what it returns."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(doing).result()
