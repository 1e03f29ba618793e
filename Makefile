# make demo: the whole way on a small made-up corpus.   make test: the test suite.   Both install what they need.
PYTHON ?= python3
PY := .venv/bin/python
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.PHONY: demo test lint clean

DEMO := --data_dir demo/data
RUNS := --exp_dir demo/exp

.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Siamusic needs Python 3.11 or newer")'
	echo "installing into .venv (PyTorch is large: this takes a few minutes, once)"
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

demo: .venv/installed
	@$(PY) -m data.synthetic $(DEMO) --size small --seconds 15
	$(PY) preprocessing.py --size small $(DEMO)
	id=$$($(PY) train_simsiam.py --size small $(DEMO) $(RUNS) --backbone resnet18 --num_epochs 8 --batch_size 32 --crop_seconds 3 | tee /dev/stderr | tail -1)
	result=$$($(PY) transfer.py --exp_path $$id --size small $(DEMO) --num_epochs 8 --batch_size 32 | tee /dev/stderr | tail -1)
	$(PY) predict.py --exp_path $$id demo/data/fma_small/000/*.mp3
	echo
	echo "The result:                $$result"
	echo "How the pre-training went: $$id/train_loss.png"
	echo "Who is taken for whom:     $$(dirname $$result)/confusion.png"
	echo "The test tracks as a map:  $$(dirname $$result)/features.png"

test: .venv/installed
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n auto

lint: .venv/installed
	@$(PY) -m ruff check .

clean:
	rm -rf .venv demo .pytest_cache .ruff_cache .hypothesis
