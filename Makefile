# make demo: the whole way on a small made-up corpus.   make test: the test suite.   Both install what they need.
# make benchmark: how fast everything is here, in under ten minutes.
PYTHON ?= python3
PY := .venv/bin/python
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.PHONY: demo test benchmark lint clean

DEMO := --size small --data_dir demo/data
RUNS := --exp_dir demo/exp
LINEAR := --protocol linear

.venv/installed: requirements.txt requirements-dev.txt requirements-optional.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Siamusic needs Python 3.11 or newer")'
	echo "installing into .venv (PyTorch is large: this takes a few minutes, once)"
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# 64 mel bands are half the work of 128. The songs at the end are two test tracks of each genre.
demo: .venv/installed
	@$(PY) -m data.synthetic $(DEMO) --seconds 6
	$(PY) preprocessing.py $(DEMO) --n_mels 64
	id=$$($(PY) train_simsiam.py $(DEMO) $(RUNS) --num_epochs 10 --batch_size 32 | tee -a /dev/stderr | tail -1)
	result=$$($(PY) transfer.py --exp_path $$id $(DEMO) $(LINEAR) | tee -a /dev/stderr | tail -1)
	for baseline in random stats; do $(PY) transfer.py --exp_path $$id $(DEMO) $(LINEAR) --baseline $$baseline; done
	echo
	$(PY) compare.py $$id --baseline $$(dirname $$result) --out demo/compare.csv
	echo
	truth=demo/data/fma_small_npy/tracks.csv
	songs=$$(awk -F '[.,]' '$$5 == "test" && seen[$$4]++ < 2 { print "demo/data/fma_small/" $$2 ".mp3" }' $$truth)
	echo "16 of those 80 test tracks, two of each genre:"
	$(PY) predict.py --exp_path $$id --transfer $$(basename $$(dirname $$result)) --truth $$truth $$songs
	echo
	echo "The three compared:        demo/compare.csv"
	echo "How the pre-training went: $$id/train_loss.png"
	echo "Who is taken for whom:     $$(dirname $$result)/confusion.png"
	echo "All of it on one page:     $$id/report.html"
	echo "The test tracks as a map:  $$(dirname $$result)/features.png"
	echo
	echo "A model of real music comes with the code (pretrained/fma_small_coarse/CARD.md). Made-up songs mean nothing to it,"
	echo "this is what its answer looks like; for a song of your own: $(PY) predict.py song.mp3"
	$(PY) predict.py $$(echo $$songs | cut -d " " -f 1-2)

test: .venv/installed
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n auto

benchmark: .venv/installed
	@$(PY) -m benchmarks.table

lint: .venv/installed
	@$(PY) -m ruff check .

clean:
	rm -rf .venv demo .pytest_cache .ruff_cache .hypothesis
