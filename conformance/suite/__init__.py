# SPDX-License-Identifier: GPL-2.0-only
"""The conformance tests: black-box, one requirement a test, standard library and pytest only.

A test knows of a device what every user can ask: region information, capabilities, registers,
and the registers that the operator names as free to write. Every test carries the ids of the
requirements that it checks; its docstring says what is done, then what must come of it.
"""
