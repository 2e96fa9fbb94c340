# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# The one front door of the repository. It only names what there is; what is known is in the scripts that it calls.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup test test-fuzz test-faults test-labs test-matrix test-arch review lint sanity package unit fuzz model integration arch eda faults molecule guests browser demo bench build docs changelog lab-up lab-down lab-guest clean

PYTHON := /usr/bin/python3
LAB := $(PYTHON) tests/lab/lab.py
# Options of `make lab-guest`, for example OPTIONS="--kind nodriver".
OPTIONS :=
NAME := demo
# Some integration targets only, for example TARGETS="memory_device_resize memory_device_wait".
TARGETS :=
export VIRTMEM_TARGETS = $(TARGETS)
# Some stages of `make test` only, for example STAGES="lint unit".
STAGES :=
# Some measurements of `make bench` only.
BENCHES :=
# Some ansible-cores of `make test-matrix` only, for example CORES="2.22.0rc1".
CORES :=
export VIRTMEM_CORES = $(CORES)
# The tag of a release, for `make review`.
TAG :=

help: ## list the targets
	@sed -n 's/^\([a-z -]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 44

setup: ## install the Debian packages that the checks and the lab need
	@tests/run/setup.sh

test: setup ## run all checks, or STAGES="lint unit" only
	@$(PYTHON) tests/run/run.py $(STAGES)

lint sanity package unit fuzz model integration shown arch eda faults molecule guests: setup ## run one stage of the checks; integration takes TARGETS=
	@$(PYTHON) tests/run/run.py $@

test-fuzz: setup ## all that is generated, new and long: 100,000 option sets, 3000 sequences of tasks and faults
	@VIRTMEM_SEED=new VIRTMEM_UNIT_EXAMPLES=3000 VIRTMEM_FUZZ_RUNS=100000 VIRTMEM_MODEL_RUNS=3000 VIRTMEM_MODEL_SECONDS=600 \
	  $(PYTHON) tests/run/run.py unit fuzz model

test-faults: setup ## the stage faults, whole: the slow faults too
	@VIRTMEM_FAULTS=all $(PYTHON) tests/run/run.py faults

test-labs: setup ## what make test leaves out of targets, scenarios, labs and Pythons; what depends on the hypervisor on every lab
	@VIRTMEM_LABS=all $(PYTHON) tests/run/run.py lint sanity integration integration-trixie integration-forky model shown molecule eda

test-arch: setup ## guests of aarch64, ppc64le and s390x that boot, under emulation
	@VIRTMEM_LABS=all $(PYTHON) tests/run/run.py arch

test-matrix: setup ## the collection on other ansible-cores: sanity, a target, the roles and playbooks
	@$(PYTHON) tests/run/run.py matrix

review: setup ## what reviewers ask of a collection, a row each, with what was measured; TAG= of a release
	@$(PYTHON) tests/run/make.py review $(TAG)

browser: ## the report's page and the documentation in a real browser, metrics and alerts by promtool; installs both
	@tests/run/setup.sh tests/report/packages.txt
	@$(PYTHON) tests/run/run.py $@

demo: setup ## show the collection at work on a real guest
	@$(PYTHON) tests/run/demo.py

bench: setup ## measure what is promised, as ratios (see tests/bench/README.md); BENCHES="info" for some only
	@$(PYTHON) tests/bench/bench.py $(BENCHES)

build: setup ## build the tarball in .cache/build
	@$(PYTHON) tests/run/make.py build

docs: setup ## make the documentation's pages in .cache/docs
	@$(PYTHON) tests/run/make.py docs

options: setup ## write the options of a device into the documents that repeat them, from the doc fragment
	@$(PYTHON) tests/run/make.py options

changelog: setup ## release the version of galaxy.yml: turn changelogs/fragments into CHANGELOG.md
	@$(PYTHON) tests/run/make.py changelog

lab-up: setup ## start a lab to develop on, and print its URI
	@$(LAB) up

lab-down: ## end it and leave nothing
	@$(LAB) down

lab-guest: ## give it a guest: NAME=demo OPTIONS="--kind nodriver" (see tests/lab/README.md)
	@$(LAB) guest $(NAME) $(OPTIONS)

clean: lab-down ## remove all that was made here
	@rm -rf .cache .ansible
