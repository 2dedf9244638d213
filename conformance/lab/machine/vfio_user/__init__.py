# SPDX-License-Identifier: GPL-2.0-only
"""A vfio-user server for PCI functions that QEMU does not emulate.

The functions of a virtual machine live in a process of the host, and QEMU (10.1 or later, device
``vfio-user-pci``) sends it every access over a UNIX socket. Only the standard library is used.
Run it as ``python3 -m conformance.lab.machine.vfio_user SOCKET...``: one function a socket.

What is above what::

    __main__  command line
    server    accepts a client, answers its requests
    i40e      the function 8086:154c: its registers and what they do
    counters  test hook: how often each register was accessed
    function  what every PCI function has: config space, BARs, interrupts, reset
    config, registers, interrupts
    connection  messages with file descriptors
    protocol  numbers and layouts of the vfio-user protocol, version 0
    errors
"""
