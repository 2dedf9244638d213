# SPDX-License-Identifier: GPL-2.0-only
#
# The few verbs people type. Each brings the host up to date first, which takes a tenth
# of a second where nothing is missing.

DEVICE ?= igb-vf
IMAGE ?= trixie
KERNEL_TREE ?=
MODULE ?=
PROTOCOL ?=
STRANGER ?=
SEED := $(or $(SEED),$(shell date +%s))
BDF ?=
PEER ?=
SCRATCH ?=
VOLATILE ?=
UNBIND ?=
AGAINST ?=
PHYSICAL ?=
ARGS ?=

PYTHON := .venv/bin/python
lab = $(PYTHON) -m conformance

.PHONY: help check watch matrix doctor bench bench-kit vmm test prove shell image ready setup clean
.DEFAULT_GOAL := help

help:
	@echo 'make check    render, build and load a driver, run the suite in a VM, print a verdict'
	@echo 'make watch    check again on each save of a description, template or C file, until Ctrl-C'
	@echo 'make matrix   the same for all devices on all kernels: one table'
	@echo 'make doctor   why a function (BDF=0000:3b:02.0), or this machine, cannot be migrated or tested'
	@echo 'make bench    measure what a driver costs, as ratios, in the same VM'
	@echo 'make bench-kit how long a check takes, as ratios: to a boot, to one guest, to a commit (AGAINST=)'
	@echo 'make vmm      QEMU migrates a guest that has the function, inside the same VM'
	@echo 'make test     the tests of the kit itself: lint, types, unit tests, driver builds'
	@echo 'make prove    a sample of what proves the suite: some faulty drivers, a good one; SEED= chooses'
	@echo 'make shell    the same VM, with a prompt'
	@echo 'make image    make the lab image, if it is not there'
	@echo 'make setup    install what the host lacks, and the tools of development; the above do it as needed'
	@echo 'make clean    remove what was made here'
	@echo
	@echo 'DEVICE=$(DEVICE)    a description in kpatch/devices, or a path to one'
	@echo 'IMAGE=$(IMAGE)     an image in vm-images/images: suite and kernel'
	@echo 'KERNEL_TREE=     build and boot this built kernel tree instead of the kernel of the image'
	@echo 'MODULE=          judge this .ko instead of a rendered driver'
	@echo 'PROTOCOL=v2      render and judge version 2 of the migration protocol instead of the region;'
	@echo '                 both: one driver for both versions, judged by each'
	@echo 'STRANGER=        judge a driver of the kernel itself, which the lab builds: mtty, qat, xe, virtio'
	@echo 'BDF=             check on this machine, no VM: bind the driver to this PCI function, such as'
	@echo '                 0000:3b:02.0, judge it, and put everything back; needs root'
	@echo 'PEER=            with BDF: a second function, as destination'
	@echo 'SCRATCH=         with BDF: registers that may be written, BAR:OFFSET:MASK ...'
	@echo 'VOLATILE=        with BDF: registers that change by themselves, BAR:OFFSET[:MASK] ...'
	@echo 'UNBIND=1         with BDF: consent that the functions are taken from their drivers'
	@echo 'PHYSICAL=1       with BDF: consent that it is a physical function'
	@echo 'ARGS=            for "python -m conformance check": ARGS="-k saving", ARGS=--cold, ARGS=--dry-run'
	@echo
	@echo 'exit codes: 0 conforms, 1 a requirement failed, 2 usage, 3 the kernel died, 4 the lab failed,'
	@echo '            5 the device offers nothing to judge;'
	@echo 'make itself ends with 2 if any of these is not 0, and prints it as "Error N"'

ifneq ($(strip $(BDF)),)
# Without DEVICE the description is the one that has the ids of the function.
check:
	@vm-images/test-machine.sh check $(if $(filter file,$(origin DEVICE)),,"$(DEVICE)") \
		--bdf "$(strip $(BDF))" $(if $(PEER),--peer "$(strip $(PEER))") \
		$(foreach place,$(SCRATCH),--scratch $(place)) \
		$(foreach place,$(VOLATILE),--volatile $(place)) \
		$(if $(filter-out 0,$(UNBIND)),--unbind) $(if $(filter-out 0,$(PHYSICAL)),--physical) \
		$(if $(KERNEL_TREE),--kernel-tree "$(KERNEL_TREE)") \
		$(if $(PROTOCOL),--protocol "$(PROTOCOL)") $(if $(MODULE),--module "$(MODULE)") $(ARGS)
else
check: ready
	@$(lab) check $(if $(STRANGER),--stranger "$(STRANGER)",$(DEVICE)) --image $(IMAGE) \
		$(if $(KERNEL_TREE),--kernel-tree "$(KERNEL_TREE)") \
		$(if $(filter both,$(PROTOCOL)),--both,$(if $(PROTOCOL),--protocol "$(PROTOCOL)")) \
		$(if $(MODULE),--module "$(MODULE)") $(ARGS)
endif

watch: ready
	@$(lab) watch $(if $(STRANGER),--stranger "$(STRANGER)",$(DEVICE)) --image $(IMAGE) \
		$(if $(KERNEL_TREE),--kernel-tree "$(KERNEL_TREE)") \
		$(if $(PROTOCOL),--protocol "$(PROTOCOL)") $(if $(MODULE),--module "$(MODULE)") $(ARGS)

matrix: ready
	@$(lab) matrix $(if $(KERNEL_TREE),--kernel-tree "$(KERNEL_TREE)") $(ARGS)

# Brings nothing up to date: it changes nothing, and needs no package.
doctor:
	@$(or $(wildcard $(PYTHON)),python3) -B -m conformance.doctor $(BDF) $(ARGS)

bench: ready
	@$(lab) bench $(DEVICE) --image $(IMAGE) \
		$(if $(KERNEL_TREE),--kernel-tree "$(KERNEL_TREE)") \
		$(if $(MODULE),--module "$(MODULE)") $(ARGS)

# AGAINST names a commit of the kit to compare with.
bench-kit: ready
	@$(lab) bench $(DEVICE) --image $(IMAGE) --kit $(if $(AGAINST),--against "$(AGAINST)") $(ARGS)

vmm: ready
	@$(lab) vmm $(DEVICE) --image $(IMAGE) \
		$(if $(KERNEL_TREE),--kernel-tree "$(KERNEL_TREE)") \
		$(if $(PROTOCOL),--protocol "$(PROTOCOL)") $(if $(MODULE),--module "$(MODULE)") $(ARGS)

# What is run, and how, is in tox.ini.
test: setup
	@.venv/bin/tox -q -e lint,type,unit,build $(ARGS)

# Both run, whatever becomes of the first.
prove: ready
	@$(lab) mutants --sample 6 --seed $(SEED) -o results/prove; mutants=$$?; \
		$(lab) variants --sample 1 --seed $(SEED) -o results/prove && exit $$mutants

shell: ready
	@$(lab) shell $(if $(STRANGER),--stranger "$(STRANGER)",$(DEVICE)) --image $(IMAGE) \
		$(if $(KERNEL_TREE),--kernel-tree "$(KERNEL_TREE)") \
		$(if $(PROTOCOL),--protocol "$(PROTOCOL)") $(if $(MODULE),--module "$(MODULE)") $(ARGS)

image: ready
	@$(lab) image $(IMAGE) $(ARGS)

# What runs the lab; `setup` adds what develops and tests the kit.
ready:
	@vm-images/host-setup.sh

setup:
	@vm-images/host-setup.sh --tools

clean:
	rm -rf .venv .tox *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@echo 'kept: results/, and images, builds and snapshots in the cache ($${VFIO_KIT_CACHE:-~/.cache/vfio-migration-kit})'
