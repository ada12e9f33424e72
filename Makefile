# Two commands do everything on a machine with Python 3.11 or newer, pip and a package index:
#   make demo   runs the quickstart job end to end
#   make test   runs the linter, the type checker and all tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
KUBE_APISERVER ?= ../shared/tools/kube-apiserver
# The container image; IMAGE_BUILD_ARGS goes to the build, as --build-arg TORCH_INDEX=... for one without CUDA.
IMAGE ?= localhost/gansvc:latest
PYTHON_IMAGE ?= docker.io/library/python:3.12-slim-bookworm
IMAGE_BUILD_ARGS ?=
ENGINE ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo podman)

.DEFAULT_GOAL := help
.PHONY: help demo install test test-faults test-kubernetes manifests lint types fast fuzz bench image image-test down clean

help:  ## Say what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

install: $(INSTALLED)  ## Make .venv and install gansvc with all it needs

demo: $(INSTALLED)  ## Run jobs/quickstart.yaml on a local Ray cluster and end the cluster
	$(BIN)/gansvc submit jobs/quickstart.yaml; code=$$?; $(BIN)/gansvc down; exit $$code

test: lint types fast  ## Run linter, type checker and all tests
	$(BIN)/python -m pytest -m "ray and not faults"

test-faults: $(INSTALLED)  ## Kill parts of jobs for real, for about half an hour
	$(BIN)/python -m pytest -m faults

fast: $(INSTALLED)  ## Run the tests that start no Ray, in two processes
	$(BIN)/python -m pytest -m "not ray and not faults" --numprocesses 2 --dist loadfile

fuzz: $(INSTALLED)  ## Try over 10,000 drawn specs, records, files and command lines; other ones at each run
	GANSVC_FUZZ=long $(BIN)/python -m pytest tests/fuzz --hypothesis-show-statistics

test-kubernetes: $(INSTALLED)  ## Run the Kubernetes tests against a real API server too; KUBE_APISERVER starts one
	GANSVC_KUBE_APISERVER=$(abspath $(KUBE_APISERVER)) $(BIN)/python -m pytest tests/client/kuberay/test_kubernetes.py tests/deploy/test_k8s.py

manifests: $(INSTALLED)  ## Write the manifests under k8s/ that the code makes
	$(BIN)/python tests/kube_examples.py

lint: $(INSTALLED)  ## Run the linter
	$(BIN)/ruff check service tests docker
	$(BIN)/ruff format --check service tests docker

types: $(INSTALLED)  ## Run the type checker
	$(BIN)/mypy

bench: $(INSTALLED)  ## Measure against a plain PyTorch loop, on a quiet machine; BENCH=search,ddp2 picks names
	PYTHONPATH=$(CURDIR)/tests $(BIN)/python -m benchmarks.bench $(BENCH)

image:  ## Build the container image with docker or podman; PYTHON_IMAGE and IMAGE_BUILD_ARGS change how
	$(ENGINE) build $(if $(filter podman,$(ENGINE)),--format docker) --file docker/Dockerfile --tag $(IMAGE) \
		--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) \
		--build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
		--build-arg COMMIT="$$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)" \
		$(IMAGE_BUILD_ARGS) .

image-test:  ## Run the quickstart on a hardened cluster of containers and pull its report; IMAGE_TEST_SET="PATH=VALUE..."
	ENGINE=$(ENGINE) GANSVC_IMAGE=$(IMAGE) docker/image-test.sh $(IMAGE_TEST_SET)

down: $(INSTALLED)  ## End the local cluster that gansvc started
	$(BIN)/gansvc down

clean:  ## Remove .venv and what the tools cache
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache

$(INSTALLED): pyproject.toml docker/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "gansvc needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint docker/constraints.txt --editable '.[train,k8s,dev]'
	@touch $@
